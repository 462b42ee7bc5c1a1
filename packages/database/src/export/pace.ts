// Holds reading back to a rate, so that whoever shares the machine is not kept waiting.
import { setTimeout as delay } from "node:timers/promises";

// Shorter pauses cost more than they hold back.
const leastPauseMs = 5;

/**
 * Gives a function to call before so many bytes are read. Over a second no more than `bytesPerSecond` pass; time in
 * which nothing was read is not made up for.
 *
 * @param bytesPerSecond 0 is no limit
 */
export function createPace(bytesPerSecond: number, signal: AbortSignal): (bytes: number) => Promise<void> {
  if (bytesPerSecond === 0) return async () => signal.throwIfAborted();
  let freeAtMs = 0;
  return async (bytes) => {
    signal.throwIfAborted();
    const nowMs = performance.now();
    const waitMs = freeAtMs - nowMs;
    freeAtMs = Math.max(freeAtMs, nowMs) + (bytes / bytesPerSecond) * 1_000;
    if (waitMs >= leastPauseMs) await delay(waitMs, undefined, { signal });
  };
}
