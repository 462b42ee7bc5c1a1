// A fixed number of slots and a bounded first-in-first-out queue before them. A waiter can leave at any time.
import { EctusError } from "@ectus/core";

/** A slot that a caller holds until it calls `release`; further calls of `release` do nothing. */
export interface Lease<T> {
  readonly item: T;
  release(): void;
}

export interface SlotPool<T> {
  /**
   * Takes a slot, or waits for one in order of arrival.
   *
   * @param choose picks among the slots that are free; the first one by default
   * @throws EctusError `overloaded` when the queue is full or the wait took too long, the signal's reason when it is
   * aborted, `shutting_down` when the pool is closed
   */
  acquire(signal: AbortSignal, choose?: (free: readonly T[]) => T): Promise<Lease<T>>;
  /** Slots that are held now. */
  active(): number;
  /** Callers that wait now. */
  waiting(): number;
  /** Refuses new callers and those that wait; resolves when every slot has come back. */
  close(): Promise<void>;
}

export interface SlotPoolOptions<T> {
  readonly slots: readonly T[];
  /** Callers that may wait; one more is refused. */
  readonly queueBound: number;
  readonly queueTimeoutMs: number;
  /** What is waited for, as the error message names it. */
  readonly what: string;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

interface Waiter<T> {
  readonly grant: (lease: Lease<T>) => void;
  readonly refuse: (error: unknown) => void;
  readonly choose: (free: readonly T[]) => T;
}

// The weight of the newest lease in the running mean of how long one is held.
const newestWeight = 0.2;
const longestRetryAfterSeconds = 60;

export function createSlotPool<T>(options: SlotPoolOptions<T>): SlotPool<T> {
  const { slots, queueBound, queueTimeoutMs, what, now = () => performance.now() } = options;
  const free = new Set(slots);
  const queue = new Set<Waiter<T>>();
  let meanHeldMs = 1000;
  let drained: (() => void) | undefined;
  let closed = false;

  const overloaded = () => {
    const rounds = Math.ceil((queue.size + 1) / slots.length);
    const retryAfterSeconds = Math.ceil((rounds * meanHeldMs) / 1000);
    return new EctusError("overloaded", {
      what,
      retryAfterSeconds: Math.min(Math.max(retryAfterSeconds, 1), longestRetryAfterSeconds),
    });
  };

  const lease = (choose: (free: readonly T[]) => T): Lease<T> => {
    const item = choose([...free]);
    free.delete(item);
    const since = now();
    let held = true;
    return {
      item,
      release() {
        if (!held) return;
        held = false;
        meanHeldMs += newestWeight * (now() - since - meanHeldMs);
        free.add(item);
        const next = queue.values().next().value;
        if (next !== undefined) {
          queue.delete(next);
          next.grant(lease(next.choose));
        } else if (free.size === slots.length) drained?.();
      },
    };
  };

  return {
    async acquire(signal, choose = (available) => available[0] as T) {
      signal.throwIfAborted();
      if (closed) throw new EctusError("shutting_down");
      if (free.size > 0) return lease(choose);
      if (queue.size >= queueBound) throw overloaded();
      return await new Promise<Lease<T>>((resolve, reject) => {
        const leave = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", onAbort);
          queue.delete(waiter);
        };
        const waiter: Waiter<T> = {
          choose,
          grant(granted) {
            leave();
            resolve(granted);
          },
          refuse(error) {
            leave();
            reject(error);
          },
        };
        const onAbort = () => waiter.refuse(signal.reason);
        const timer = setTimeout(() => waiter.refuse(overloaded()), queueTimeoutMs).unref();
        signal.addEventListener("abort", onAbort, { once: true });
        queue.add(waiter);
      });
    },
    active: () => slots.length - free.size,
    waiting: () => queue.size,
    close() {
      closed = true;
      for (const waiter of [...queue]) waiter.refuse(new EctusError("shutting_down"));
      return new Promise((resolve) => {
        if (free.size === slots.length) resolve();
        else drained = resolve;
      });
    },
  };
}
