// Calls the collect callbacks of metrics before a scrape reads their values.
import type { AnyMetric } from "./registry.ts";

export interface CollectOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Awaited between two callbacks: the event loop turns when they have taken long enough. */
  readonly pauseIfDue: () => Promise<void> | undefined;
}

/** Told of a callback that has ended, and of the error that it ended with. */
type Waiter = (metric: AnyMetric, failure?: { readonly error: unknown }) => void;

/** What is still under way of a metric's callback, whichever scrape called it. */
interface Running {
  /** One of each scrape that waits, until it goes: a callback that hangs holds nothing of those that have gone. */
  readonly waiters: Set<Waiter>;
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
  const unsettled = new Map<AnyMetric, Running>();
  let whenAllAreSettled = () => {};
  const waiter: Waiter = (metric, failure) => {
    unsettled.delete(metric);
    if (failure !== undefined) failed.set(metric, failure.error);
    if (unsettled.size === 0) whenAllAreSettled();
  };
  try {
    for (const metric of metrics) {
      if (metric.collect === undefined) continue;
      const earlier = running.get(metric);
      if (earlier?.isLate) {
        failed.set(metric, new Error(`collect of the metric ${metric.name} still hangs`));
        continue;
      }
      try {
        const joined = earlier ?? start(metric, metric.collect);
        joined?.waiters.add(waiter);
        if (joined !== undefined) unsettled.set(metric, joined);
      } catch (error) {
        failed.set(metric, error);
      }
      await pauseIfDue();
      signal?.throwIfAborted();
    }
    if (unsettled.size > 0)
      await firstOf(timeoutMs, signal, (resolve) => {
        whenAllAreSettled = resolve;
      });
  } finally {
    for (const { waiters } of unsettled.values()) waiters.delete(waiter);
  }
  for (const [metric, late] of unsettled) {
    late.isLate = true;
    failed.set(metric, new Error(`collect of the metric ${metric.name} took longer than ${timeoutMs} ms`));
  }
  return failed;
}

/** Undefined when the callback has ended. @throws what it throws */
function start(metric: AnyMetric, collect: () => void | Promise<void>): Running | undefined {
  const result: unknown = collect.call(metric);
  if (!isThenable(result)) return undefined;
  const started: Running = { waiters: new Set(), isLate: false };
  const settle = (failure?: { readonly error: unknown }) => {
    running.delete(metric);
    for (const waiter of started.waiters) waiter(metric, failure);
  };
  running.set(metric, started);
  Promise.resolve(result).then(
    () => settle(),
    (error: unknown) => settle({ error }),
  );
  return started;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** Waits until `begin`'s argument is called, or so long. @throws the reason of the signal */
async function firstOf(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  begin: (resolve: () => void) => void,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  const abort = () => reject(signal?.reason);
  signal?.addEventListener("abort", abort);
  begin(resolve);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}
