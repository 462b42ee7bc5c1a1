// What `get()` and `getMetricsAsJSON()` give: plain objects in the shape of the official client.
import type { Exemplar } from "./exemplar.ts";
import type { LabelValues } from "./series-table.ts";

export type MetricType = "counter" | "gauge" | "histogram";

export interface MetricValue<Names extends string> {
  readonly labels: LabelValues<Names>;
  readonly value: number;
  readonly exemplar?: {
    readonly labelSet: Readonly<Record<string, string>>;
    readonly value: number;
    /** Seconds since 1970. */
    readonly timestamp: number;
  };
}

/** Of a histogram: the name is that of the metric with `_bucket`, `_sum` or `_count`. */
export interface MetricValueWithName<Names extends string> extends MetricValue<Names> {
  readonly metricName?: string;
}

export interface MetricObjectWithValues<Value> {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly values: Value[];
}

export function exemplarInJson(exemplar: Exemplar | undefined): Pick<MetricValue<string>, "exemplar"> {
  if (exemplar === undefined) return {};
  const { labels, value, timestampMs } = exemplar;
  return { exemplar: { labelSet: labels, value, timestamp: timestampMs / 1000 } };
}
