// The distribution of the values of the last minute. They are kept by tens of seconds, so that who reads takes nothing
// from who reads next.
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

export interface RecentValues {
  /** A whole number from 1 on. */
  record(value: number): void;
  /** Of the last 60 to 70 seconds; undefined when there are none. */
  read(): Distribution | undefined;
}

/** To 1 %. */
export interface Distribution {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly stddev: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export interface RecentValuesOptions {
  /** Larger values count as this one. */
  readonly most: number;
  readonly nowMs: () => number;
}

const partMs = 10_000;
const parts = 7;

export function createRecentValues({ most, nowMs }: RecentValuesOptions): RecentValues {
  // To 1 %, in 30 kB each.
  const create = () => createHistogram({ lowest: 1, highest: most, figures: 2 });
  const ring = Array.from({ length: parts }, create);
  const merged = create();
  let newest = Math.floor(nowMs() / partMs);

  const partAt = (number: number) => ring[number % parts] as RecordableHistogram;

  /** Empties the parts that have become too old. */
  function turn(): void {
    const now = Math.floor(nowMs() / partMs);
    for (let number = Math.max(newest + 1, now - parts + 1); number <= now; number += 1)
      partAt(number).reset();
    newest = now;
  }

  return {
    record(value) {
      turn();
      partAt(newest).record(Math.min(value, most));
    },
    read() {
      turn();
      merged.reset();
      for (const part of ring) if (part.count > 0) merged.add(part);
      return merged.count > 0 ? distributionOf(merged) : undefined;
    },
  };
}

function distributionOf(histogram: RecordableHistogram): Distribution {
  const { count, min, max, mean, stddev } = histogram;
  const [p50, p90, p99] = [50, 90, 99].map((percent) => histogram.percentile(percent)) as [
    number,
    number,
    number,
  ];
  return { count, min, max, mean, stddev, p50, p90, p99 };
}
