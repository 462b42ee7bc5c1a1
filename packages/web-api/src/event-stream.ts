// Server-sent events to one client, at the speed at which it reads them.
import type { ServerResponse } from "node:http";
import type { ErrorBody } from "@ectus/core";
import { noteAnswering } from "./middleware/request-outcome.ts";

export interface EventStream {
  /** Sends one event; resolves when the client may be sent another. Rejects with the reason of the signal. */
  send(data: string): Promise<void> | void;
  /** Ends the stream. */
  end(): void;
  /** Ends the stream with an error event, if the client is still there. */
  fail(body: ErrorBody): void;
  /** Milliseconds that `send` has waited for the client so far. */
  readonly waitedMs: number;
}

/** A client that takes nothing for this long is taken for gone: it holds a provider's slot. */
export const defaultStallMs = 60_000;

/**
 * @param signal of the client: see client-signal.ts
 * @param stallMs how long the client may take nothing
 */
export function openEventStream(
  response: ServerResponse,
  signal: AbortSignal,
  stallMs = defaultStallMs,
): EventStream {
  // They leave with the first event, in one packet: whoever opens a stream has one.
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  });

  let isBegun = false;
  let waitedMs = 0;
  const drained = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const sinceMs = performance.now();
      const done = (): void => {
        waitedMs += performance.now() - sinceMs;
        clearTimeout(timer);
        response.off("drain", done);
        signal.removeEventListener("abort", done);
        if (signal.aborted) reject(signal.reason);
        else resolve();
      };
      // Closing the response aborts the signal.
      const timer = setTimeout(() => response.destroy(), stallMs);
      timer.unref();
      response.on("drain", done);
      signal.addEventListener("abort", done);
    });

  function end(): void {
    // What is left is sent at the client's speed too, but not for ever.
    if (response.writableLength > 0) response.setTimeout(stallMs, () => response.destroy());
    response.end();
  }

  return {
    send(data) {
      if (signal.aborted) throw signal.reason;
      if (!isBegun) noteAnswering(response);
      isBegun = true;
      return response.write(`data: ${data}\n\n`) ? undefined : drained();
    },
    end,
    fail(body) {
      if (!response.destroyed) response.write(`data: ${JSON.stringify(body)}\n\n`);
      end();
    },
    get waitedMs() {
      return waitedMs;
    },
  };
}
