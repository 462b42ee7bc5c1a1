// Trying a call again: only as long as its caller has got nothing, bounded in count and in time.
import { setTimeout as wait } from "node:timers/promises";
import type { EctusError } from "@ectus/core";

const firstDelayMs = 100;
const maxDelayMs = 2000;

export interface RetryPolicy {
  /** Tries after the first one. */
  readonly retries: number;
  /** No retry begins later than this after the first try. */
  readonly withinMs: number;
  readonly random: () => number;
  readonly now: () => number;
}

export type Attempt<T> =
  | { readonly ok: true; readonly value: T }
  /** `retryAfterSeconds` of the error says how long the upstream wants to be left alone. */
  | { readonly ok: false; readonly error: EctusError; readonly retryable: boolean };

/**
 * Calls `attempt` until it succeeds, fails for good, or the policy's bounds are reached; throws the last error.
 *
 * The wait doubles from 100 ms and is jittered in full, so that callers that failed together do not come back
 * together. A Retry-After of at most 2 s is kept to; with a longer one the error goes to the caller at once.
 *
 * @param attempt is told how often it was called before
 */
export async function withRetries<T>(
  policy: RetryPolicy,
  signal: AbortSignal,
  attempt: (tried: number) => Promise<Attempt<T>>,
  onRetry: (error: EctusError, delayMs: number) => void,
): Promise<T> {
  const deadline = policy.now() + policy.withinMs;
  for (let tried = 0; ; tried += 1) {
    const result = await attempt(tried);
    if (result.ok) return result.value;
    const { error, retryable } = result;
    if (!retryable || tried >= policy.retries) throw error;
    const asked = (error.details.retryAfterSeconds ?? 0) * 1000;
    const delayMs = asked > 0 ? asked : policy.random() * Math.min(maxDelayMs, firstDelayMs * 2 ** tried);
    if (asked > maxDelayMs || policy.now() + delayMs > deadline) throw error;
    onRetry(error, delayMs);
    try {
      await wait(delayMs, undefined, { signal });
    } catch {
      // Nothing runs for the client that left: what it is told of is the failure that was there before.
      throw error;
    }
  }
}
