// Which access lines of a busy route are written, as LOG_SAMPLE says. Errors, slow requests and those whose trace is kept
// are not asked about.
import type { LogSample } from "@ectus/core";
import { createSampler } from "@ectus/monitoring";

/**
 * Whether the line of a request is written.
 *
 * @param nowMs when it is over, by `performance.now()`
 * @param id ends with 14 random hex digits. A share is chosen by them, as traces are: requests of one id are all logged
 * or none is.
 */
export type AccessSample = (nowMs: number, id: string) => boolean;

export function createAccessSample(sample: LogSample | undefined): AccessSample {
  if (sample === undefined) return () => true;
  if ("share" in sample) {
    const isChosen = createSampler(sample.share);
    return (_nowMs, id) => isChosen(id);
  }
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
