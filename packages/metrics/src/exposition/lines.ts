// What text 0.0.4, text 1.0.0 and OpenMetrics have in common: a line for each number of each series.
import type { Counter, CounterSeries } from "../counter.ts";
import type { Exemplar } from "../exemplar.ts";
import type { Histogram, HistogramSeries } from "../histogram.ts";
import { classicMetricName } from "../names.ts";
import type { AnyMetric } from "../registry.ts";
import type { Series } from "../series-table.ts";
import type { Encoder, EncoderOptions } from "./encoder.ts";
import { LabelText, opened, quote } from "./label-text.ts";
import { LineWriter } from "./line-writer.ts";

/** What one format has otherwise than another. */
export interface Dialect {
  /** The lines that say what a metric is. */
  header(metric: AnyMetric, name: string): string;
  /** Between two metrics. */
  readonly separator: string;
  /** At the very end. */
  readonly end: string;
  /** How the upper bound of a bucket is written. */
  bound(bound: number): string;
  /** What follows the number that an exemplar belongs to; left out where there are none. */
  readonly exemplar?: (exemplar: Exemplar) => string;
  /** Whether exemplars may stand with this counter. */
  hasExemplars(counterName: string): boolean;
}

export function createLineEncoder(dialect: Dialect, options: EncoderOptions): Encoder {
  const writer = new LineWriter();
  let separator = "";
  let writeSeries: (series: Series) => void = notBegun;
  return {
    beginMetric(metric, name) {
      writer.text(separator + dialect.header(metric, name));
      separator = dialect.separator;
      writeSeries = (
        metric.type === "histogram"
          ? histogramLines(writer, dialect, metric as unknown as Histogram<string>, name, options)
          : numberLines(writer, dialect, metric, name, options)
      ) as (series: Series) => void;
    },
    writeSeries: (series) => writeSeries(series),
    get written() {
      return writer.written;
    },
    endMetric() {
      writeSeries = notBegun;
    },
    finish() {
      writer.text(dialect.end);
      writer.finish();
    },
    take: () => writer.take(),
  };
}

function notBegun(): never {
  throw new Error("no metric was begun");
}

/** Of a counter or a gauge. */
function numberLines(
  writer: LineWriter,
  dialect: Dialect,
  metric: AnyMetric,
  name: string,
  options: EncoderOptions,
): (series: CounterSeries) => void {
  const labels = new LabelText(metric, options);
  const isOpen = !classicMetricName.test(name);
  const start = Buffer.from(isOpen ? `{${quote(name)}` : name);
  const exemplarText = metric.type === "counter" && dialect.hasExemplars(name) ? dialect.exemplar : undefined;
  const { table } = metric as unknown as Counter<string>;
  return (series) => {
    const text = labels.of(series);
    writer.sample(start, isOpen ? text : opened(text), table.values[series.slot] as number);
    if (exemplarText !== undefined && series.exemplar !== undefined)
      writer.text(exemplarText(series.exemplar));
    writer.endLine();
  };
}

function histogramLines(
  writer: LineWriter,
  dialect: Dialect,
  metric: Histogram<string>,
  name: string,
  options: EncoderOptions,
): (series: HistogramSeries) => void {
  const labels = new LabelText(metric as unknown as AnyMetric, options);
  const isClassic = classicMetricName.test(name);
  const isOpen = !isClassic || labels.defaults !== "";
  const lineStart = (suffix: string, first: string) =>
    isClassic ? `${name}${suffix}{${first.slice(1)}` : `{${quote(name + suffix)}${first}`;
  const bucketStarts = [...metric.bounds.map(dialect.bound), "+Inf"].map((bound) =>
    Buffer.from(lineStart("_bucket", `,le="${bound}"${labels.defaults}`)),
  );
  const [sumStart, countStart] = ["_sum", "_count"].map((suffix) =>
    Buffer.from(isOpen ? lineStart(suffix, labels.defaults) : name + suffix),
  ) as [Buffer, Buffer];
  const { exemplar: exemplarText } = dialect;
  const { table } = metric;
  return (series) => {
    const text = labels.of(series);
    const { values, stride } = table;
    const first = series.slot * stride;
    const exemplars = exemplarText === undefined ? undefined : series.exemplars;
    let count = 0;
    for (let bucket = 0; bucket < bucketStarts.length; bucket += 1) {
      count += values[first + bucket] as number;
      writer.sample(bucketStarts[bucket] as Uint8Array, text, count);
      const exemplar = exemplars?.[bucket];
      if (exemplar !== undefined) writer.text((exemplarText as NonNullable<typeof exemplarText>)(exemplar));
      writer.endLine();
    }
    const own = isOpen ? text : opened(text);
    writer.sample(sumStart, own, values[first + stride - 1] as number);
    writer.endLine();
    writer.sample(countStart, own, count);
    writer.endLine();
  };
}
