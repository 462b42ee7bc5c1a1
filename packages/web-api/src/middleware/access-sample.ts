// Which access lines of a busy route are written, as LOG_SAMPLE says. Errors, slow requests and those whose trace is kept
// are not asked about.
import type { LogSample } from "@ectus/core";

/** Whether the line of a request that is over at `nowMs` is written; by `performance.now()`. */
export type AccessSample = (nowMs: number) => boolean;

/** @param random gives numbers from 0 to 1 */
export function createAccessSample(
  sample: LogSample | undefined,
  random: () => number = Math.random,
): AccessSample {
  if (sample === undefined) return () => true;
  if ("share" in sample) return () => random() < sample.share;
  return createBucket(sample.linesPerSecond);
}

/** A bucket that a second fills. One line has room in it however few are asked for, or there would never be one. */
function createBucket(linesPerSecond: number): AccessSample {
  const most = Math.max(linesPerSecond, 1);
  let left = linesPerSecond > 0 ? most : 0;
  let sinceMs = Number.NEGATIVE_INFINITY;
  return (nowMs) => {
    const seconds = Math.max(nowMs - sinceMs, 0) / 1_000;
    if (seconds > 0) {
      left = Math.min(linesPerSecond > 0 ? left + seconds * linesPerSecond : 0, most);
      sinceMs = nowMs;
    }
    if (left < 1) return false;
    left -= 1;
    return true;
  };
}
