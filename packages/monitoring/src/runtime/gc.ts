// Garbage collections, as V8 tells of each.
import { constants, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks";
import type { HistogramHandle, Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function observeGc(instruments: Instruments): () => void {
  const histogram = instruments.histogram("nodejs_gc_duration_seconds");
  const minor = histogram.labels({ kind: "minor" });
  const byKind = new Map<number, HistogramHandle>([
    [constants.NODE_PERFORMANCE_GC_MAJOR, histogram.labels({ kind: "major" })],
    [constants.NODE_PERFORMANCE_GC_MINOR, minor],
    // What it is with V8's option --minor-ms.
    [minorMarkSweep, minor],
    [constants.NODE_PERFORMANCE_GC_INCREMENTAL, histogram.labels({ kind: "incremental" })],
    [constants.NODE_PERFORMANCE_GC_WEAKCB, histogram.labels({ kind: "weakcb" })],
  ]);
  function observe(entries: readonly PerformanceEntry[]): void {
    for (const { duration, detail } of entries as readonly GcEntry[])
      byKind.get(detail.kind)?.observe(duration / 1000);
  }
  const observer = new PerformanceObserver((list) => observe(list.getEntries()));
  observer.observe({ entryTypes: ["gc"] });
  return () => {
    observer.disconnect();
    withdraw(histogram);
  };
}

type GcEntry = PerformanceEntry & { readonly detail: { readonly kind: number } };

// Not among the constants in the types of Node.js.
const minorMarkSweep = 2;
