// How many calls of one provider run at a time, and how many wait for their turn, first come, first served.
import { EctusError } from "@ectus/core";

export interface AdmissionOptions {
  /** The provider, for error messages. */
  readonly name: string;
  readonly maxConcurrent: number;
  /** Calls that may wait. */
  readonly queue: number;
  readonly maxWaitMs: number;
  readonly now: () => number;
}

export interface Admission {
  readonly inFlight: number;
  readonly queued: number;
  /** Whether a call would neither run nor wait now. */
  readonly full: boolean;
  /** Takes a slot if one is free; as long as calls wait, none is. */
  tryAcquire(): boolean;
  /**
   * Waits for a slot. Rejects with `overloaded` if the queue is full or the wait too long, and with
   * `client_closed_request` if `signal` is aborted. Whoever gets a slot gives it back by `release`.
   */
  acquire(signal: AbortSignal): Promise<void>;
  /** @param heldMs how long the slot was held, for the estimate of waits; null if nothing was done with it */
  release(heldMs: number | null): void;
  /** Seconds until a call that is refused now may find room: at least 1, at most 60. */
  retryAfterSeconds(): number;
  overloaded(): EctusError;
}

interface Waiter {
  readonly admit: () => void;
}

export function createAdmission({ name, maxConcurrent, queue, maxWaitMs, now }: AdmissionOptions): Admission {
  // A Set keeps the order of insertion and deletes in constant time when a waiter gives up.
  const waiters = new Set<Waiter>();
  let inFlight = 0;
  let meanHeldMs = 1000;

  function retryAfterSeconds(): number {
    const rounds = (waiters.size + 1) / maxConcurrent;
    return Math.min(60, Math.max(1, Math.ceil((rounds * meanHeldMs) / 1000)));
  }

  function overloaded(): EctusError {
    return new EctusError("overloaded", {
      what: `the provider '${name}'`,
      provider: name,
      retryAfterSeconds: retryAfterSeconds(),
    });
  }

  return {
    get inFlight() {
      return inFlight;
    },
    get queued() {
      return waiters.size;
    },
    get full() {
      return inFlight >= maxConcurrent && waiters.size >= queue;
    },
    tryAcquire() {
      if (inFlight >= maxConcurrent) return false;
      inFlight += 1;
      return true;
    },
    acquire(signal) {
      if (signal.aborted) return Promise.reject(new EctusError("client_closed_request"));
      if (inFlight < maxConcurrent) {
        inFlight += 1;
        return Promise.resolve();
      }
      if (waiters.size >= queue) return Promise.reject(overloaded());
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const since = now();
      const leave = (): void => {
        waiters.delete(waiter);
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        admit() {
          leave();
          resolve();
        },
      };
      const onAbort = (): void => {
        leave();
        reject(new EctusError("client_closed_request"));
      };
      const timer = setTimeout(() => {
        // A wait this long says more about the load than the mean does.
        meanHeldMs = Math.max(meanHeldMs, (now() - since) / (queue + 1));
        leave();
        reject(overloaded());
      }, maxWaitMs);
      signal.addEventListener("abort", onAbort);
      waiters.add(waiter);
      return promise;
    },
    release(heldMs) {
      if (heldMs !== null) meanHeldMs += (heldMs - meanHeldMs) / 16;
      const [next] = waiters;
      // The slot goes to the next in line without becoming free in between, so that nobody overtakes.
      if (next === undefined) inFlight -= 1;
      else next.admit();
    },
    retryAfterSeconds,
    overloaded,
  };
}
