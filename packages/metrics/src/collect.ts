// Calls the collect callbacks of metrics before a scrape reads their values.
import type { AnyMetric } from "./registry.ts";

export interface CollectOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Awaited between two callbacks: the event loop turns when they have taken long enough. */
  readonly pauseIfDue: () => Promise<void> | undefined;
}

/** What is still under way of a metric's callback, whichever scrape called it. */
interface Running {
  readonly settled: Promise<unknown>;
  /** A scrape has waited for it as long as it would. */
  isLate: boolean;
}

// Held by the metric, so to speak: two scrapes, of one registry or of two, must not call a callback that hangs again.
const running = new WeakMap<AnyMetric, Running>();

/**
 * Calls all callbacks, then waits for those that are asynchronous together. Gives the errors of those that failed or
 * did not end in time. @throws the reason of the signal
 */
export async function collectAll(
  metrics: readonly AnyMetric[],
  { timeoutMs, signal, pauseIfDue }: CollectOptions,
): Promise<Map<AnyMetric, unknown>> {
  const failed = new Map<AnyMetric, unknown>();
  const waiting = new Map<AnyMetric, Running>();
  for (const metric of metrics) {
    if (metric.collect === undefined) continue;
    const earlier = running.get(metric);
    if (earlier?.isLate) failed.set(metric, new Error(`collect of the metric ${metric.name} still hangs`));
    else if (earlier !== undefined) waiting.set(metric, earlier);
    else {
      try {
        const started = start(metric, metric.collect);
        if (started !== undefined) waiting.set(metric, started);
      } catch (error) {
        failed.set(metric, error);
      }
      await pauseIfDue();
      signal?.throwIfAborted();
    }
  }
  if (waiting.size > 0) await waitForAll(waiting, failed, timeoutMs, signal);
  return failed;
}

function start(metric: AnyMetric, collect: () => void | Promise<void>): Running | undefined {
  const result: unknown = collect.call(metric);
  if (!isThenable(result)) return undefined;
  const started: Running = { settled: Promise.resolve(result), isLate: false };
  running.set(metric, started);
  const forget = () => void running.delete(metric);
  started.settled.then(forget, forget);
  return started;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

async function waitForAll(
  waiting: ReadonlyMap<AnyMetric, Running>,
  failed: Map<AnyMetric, unknown>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const unsettled = new Set(waiting.keys());
  const { promise: ended, resolve: end, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(end, timeoutMs);
  const abort = () => reject(signal?.reason);
  signal?.addEventListener("abort", abort);
  const settle = (metric: AnyMetric) => {
    unsettled.delete(metric);
    if (unsettled.size === 0) end();
  };
  for (const [metric, { settled }] of waiting) {
    settled.then(
      () => settle(metric),
      (error: unknown) => {
        // After the end this scrape has said that it took too long.
        if (!failed.has(metric)) failed.set(metric, error);
        settle(metric);
      },
    );
  }
  try {
    await ended;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
  for (const metric of unsettled) {
    (waiting.get(metric) as Running).isLate = true;
    failed.set(metric, new Error(`collect of the metric ${metric.name} took longer than ${timeoutMs} ms`));
  }
}
