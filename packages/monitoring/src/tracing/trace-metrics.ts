// What is counted of traces. What waits is read when a scrape asks.
import { catalogue } from "../catalogue.ts";
import type { CounterHandle, Instruments } from "../instruments.ts";
import type { KeepReason } from "./keep-reason.ts";
import type { SpanLossReason } from "./trace-buffer.ts";

/** Spans in memory. */
export interface WaitingCounts {
  /** Of traces that are not over. */
  readonly recording: number;
  /** Of kept traces that were not exported yet. */
  readonly export: number;
}

export interface TraceMetrics {
  exported(count: number): void;
  lost(reason: SpanLossReason, count: number): void;
  /** A trace is over. */
  decided(kept: KeepReason | undefined): void;
  /** Shows what waits until what it returns is called. */
  showWaiting(counts: () => WaitingCounts): () => void;
}

export function traceMetrics(instruments: Instruments): TraceMetrics {
  const exported = instruments.counter("trace_spans_exported_total").labels({});
  const dropped = instruments.counter("trace_spans_dropped_total");
  const traces = instruments.counter("traces_total");
  // From 0 on, so that the first one is an increase.
  const ofReason = new Map<SpanLossReason, CounterHandle>(
    catalogue.trace_spans_dropped_total.labels.reason.values.map((reason) => [
      reason,
      dropped.labels({ reason }),
    ]),
  );
  const kept: Readonly<Record<KeepReason, CounterHandle>> = {
    sampled: traces.labels({ kept: "sampled" }),
    error: traces.labels({ kept: "error" }),
    slow: traces.labels({ kept: "slow" }),
  };
  const none = traces.labels({ kept: "none" });
  return {
    exported: (count) => exported.inc(count),
    lost: (reason, count) => ofReason.get(reason)?.inc(count),
    decided: (reason) => (reason === undefined ? none : kept[reason]).inc(),
    showWaiting: (counts) => (instruments.enabled ? showWaiting(instruments, counts) : () => {}),
  };
}

// A process may trace more than once, as tests do, and a metric has one collect callback: it shows the sum. What is kept
// here lives as long as the instruments.
const shown = new WeakMap<Instruments, Set<() => WaitingCounts>>();

function showWaiting(instruments: Instruments, counts: () => WaitingCounts): () => void {
  const all = shown.get(instruments) ?? showAll(instruments);
  all.add(counts);
  return () => all.delete(counts);
}

function showAll(instruments: Instruments): Set<() => WaitingCounts> {
  const all = new Set<() => WaitingCounts>();
  shown.set(instruments, all);
  instruments.gauge("trace_spans_waiting", (gauge) => {
    for (const state of ["recording", "export"] as const) {
      let sum = 0;
      for (const counts of all) sum += counts()[state];
      gauge.labels({ state }).set(sum);
    }
  });
  return all;
}
