// What a registry has measured, for tests, read from the metrics themselves.
import type { AnyMetric, CounterSeries, ExemplarLabels, HistogramSeries, Registry } from "@ectus/metrics";

export interface Sample {
  readonly labels: Readonly<Record<string, string | undefined>>;
  /** Of a histogram, how many values there were. */
  readonly value: number;
  /** Of a histogram, their sum. */
  readonly sum: number;
}

/** All series of a metric, after its collect callback was called. */
export function samplesOf(registry: Registry, name: string): readonly Sample[] {
  const metric = registry.getSingleMetric(name);
  if (metric === undefined) throw new Error(`there is no metric ${name}`);
  metric.collect?.();
  return seriesOf(metric).map((series) => {
    const labels = Object.fromEntries(
      metric.labelNames.map((label, index) => [label, series.labelValues[index]]),
    );
    return { labels, ...numbersOf(metric, series.slot) };
  });
}

type Series = NonNullable<ReturnType<AnyMetric["table"]["glance"]>>;

function seriesOf({ table }: AnyMetric): Series[] {
  return Array.from({ length: table.end }, (_, slot) => table.glance(slot)).filter(
    (series) => series !== undefined,
  );
}

/** The labels of the exemplars of a histogram or counter, of all its series. */
export function exemplarsOf(registry: Registry, name: string): readonly ExemplarLabels[] {
  const metric = registry.getSingleMetric(name);
  const series = (metric === undefined ? [] : seriesOf(metric)) as readonly Partial<
    HistogramSeries & CounterSeries
  >[];
  return series.flatMap(({ exemplars = [], exemplar }) =>
    [...exemplars, exemplar].flatMap((one) => (one === undefined ? [] : [one.labels])),
  );
}

function numbersOf({ type, table }: AnyMetric, slot: number): { value: number; sum: number } {
  const numbers = [...table.values.subarray(slot * table.stride, (slot + 1) * table.stride)];
  if (type !== "histogram") return { value: numbers[0] ?? 0, sum: 0 };
  const counts = numbers.slice(0, -1);
  return { value: counts.reduce((total, count) => total + count, 0), sum: numbers.at(-1) ?? 0 };
}

/** The value of the one series that has these labels; 0 when there is none. */
export function measuredValue(registry: Registry, name: string, labels: Sample["labels"] = {}): number {
  const found = samplesOf(registry, name).filter((sample) =>
    Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  if (found.length > 1) throw new Error(`${name} has ${found.length} series with these labels`);
  return found[0]?.value ?? 0;
}

/** The series that are not 0, as `label=value …: value`, sorted. */
export function countedIn(registry: Registry, name: string): readonly string[] {
  return samplesOf(registry, name)
    .filter(({ value }) => value !== 0)
    .map(({ labels, value }) => `${Object.values(labels).join(" ")}: ${value}`)
    .sort();
}
