// What a scrape writes with, whatever the format: it is given a metric, then its series one at a time, so that the
// scrape can pause between any two of them.

import type { AnyMetric } from "../registry.ts";
import type { LabelValue, Series } from "../series-table.ts";
import type { Escaping } from "./format.ts";

export interface EncoderOptions {
  readonly escaping: Escaping;
  /** Labels of every series that does not have a label of that name itself. */
  readonly defaultLabels: Readonly<Record<string, LabelValue>>;
}

/**
 * Called in the order `beginMetric`, any number of `writeSeries`, `endMetric`, for each metric; at last `finish`.
 * `take` may come between any of them.
 */
export interface Encoder {
  /** @param name what the metric is called in this exposition; see escapeMetricNames */
  beginMetric(metric: AnyMetric, name: string): void;
  /** Writes all of one series of that metric, as it is now. Its slot is not -1, and it must not be kept. */
  writeSeries(series: Series): void;
  /** Bytes that were written so far, as a measure of the work. */
  readonly written: number;
  endMetric(): void;
  /** Writes what ends the exposition. */
  finish(): void;
  /**
   * Gives what can be sent and forgets it; the receiver owns the bytes. An encoder keeps back what it cannot send yet
   * (a protobuf family begins with its length), and chunks that are small, until `finish` was called.
   */
  take(): Uint8Array[];
}
