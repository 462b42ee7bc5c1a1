// Tells which metrics have more label sets than they may have.
import type { Registry } from "@ectus/metrics";
import type { Instruments } from "./instruments.ts";

/** Counts what the metrics of the registry drop. Returns how to end it. */
export function countDroppedSeries({
  registry,
  instruments,
}: {
  readonly registry: Registry;
  readonly instruments: Instruments;
}): () => void {
  const shown = new Map<string, number>();
  const counter = instruments.counter("metrics_series_dropped_total", () => {
    for (const { name, labelNames, table } of registry.getMetricsAsArray()) {
      // One without labels has one series.
      if (labelNames.length === 0) continue;
      // Also of those that drop nothing: an increase can only be seen in what was there before.
      counter.labels({ metric: name }).inc(table.dropped - (shown.get(name) ?? 0));
      shown.set(name, table.dropped);
    }
  });
  return () => {
    counter.stopCollecting();
    counter.reset();
  };
}
