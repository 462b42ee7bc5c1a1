// The life of one call: a signal of its own that is aborted with the error which the call ends with.
import { EctusError } from "@ectus/core";

export interface Call {
  /** Aborted when the client leaves, the provider closes, or the reader pauses too long; its reason is an EctusError. */
  readonly signal: AbortSignal;
  abort(error: EctusError): void;
  /** Lets go of the client's signal. */
  end(): void;
}

export interface Calls {
  /** @param outer the client's signal; its abort ends the call as `client_closed_request` */
  open(outer: AbortSignal): Call;
  abortAll(error: EctusError): void;
}

export function createCalls(): Calls {
  const calls = new Set<Call>();
  return {
    open(outer) {
      const controller = new AbortController();
      const onAbort = () => controller.abort(new EctusError("client_closed_request"));
      const call: Call = {
        signal: controller.signal,
        abort: (error) => controller.abort(error),
        end() {
          outer.removeEventListener("abort", onAbort);
          calls.delete(call);
        },
      };
      if (outer.aborted) onAbort();
      else outer.addEventListener("abort", onAbort, { once: true });
      calls.add(call);
      return call;
    },
    abortAll(error) {
      for (const call of calls) call.abort(error);
    },
  };
}

/** What `work` resolves to, or the signal's reason as soon as it is aborted; the work itself goes on. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const left = Promise.withResolvers<never>();
  const onAbort = () => left.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, left.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
