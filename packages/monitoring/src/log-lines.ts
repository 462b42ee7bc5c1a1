// Shows what the log counts: lines by level, access lines that were left out, and lines that were lost.
import type { LogCounts, WrittenLevel } from "@ectus/core";
import type { Instruments } from "./instruments.ts";

/** Counts log lines. Returns how to end it. */
export function countLogLines({
  counts,
  instruments,
}: {
  readonly counts: LogCounts;
  readonly instruments: Instruments;
}): () => void {
  const shown = new Map<string, number>();
  const since = (name: string, value: number): number => {
    const added = value - (shown.get(name) ?? 0);
    shown.set(name, value);
    return added;
  };
  const lines = instruments.counter("log_lines_total", () => {
    // Also those of levels without a line: an increase can only be seen in what was there before.
    for (const [level, count] of Object.entries(counts.lines) as [WrittenLevel, number][])
      lines.labels({ level }).inc(since(level, count));
  });
  const sampledOut = instruments.counter("log_lines_sampled_out_total", () => {
    sampledOut.labels({}).inc(since("sampled out", counts.sampledOut));
  });
  const dropped = instruments.counter("log_lines_dropped_total", () => {
    dropped.labels({}).inc(since("dropped", counts.dropped));
  });
  return () => {
    for (const counter of [lines, sampledOut, dropped]) {
      counter.stopCollecting();
      counter.reset();
    }
  };
}
