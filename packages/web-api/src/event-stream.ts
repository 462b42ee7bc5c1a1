// Server-sent events to one client, at the speed at which it reads them.
import type { ServerResponse } from "node:http";
import { EctusError } from "@ectus/core";

export interface EventStream {
  /** Sends one event; resolves when the client may be sent another. Rejects with `client_closed_request`. */
  send(data: string): Promise<void> | void;
  end(): void;
}

export function openEventStream(response: ServerResponse, signal: AbortSignal): EventStream {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  });
  response.flushHeaders();

  const drained = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const done = (): void => {
        response.off("drain", done);
        signal.removeEventListener("abort", done);
        if (signal.aborted) reject(new EctusError("client_closed_request"));
        else resolve();
      };
      response.on("drain", done);
      signal.addEventListener("abort", done);
    });

  return {
    send(data) {
      if (signal.aborted) throw new EctusError("client_closed_request");
      return response.write(`data: ${data}\n\n`) ? undefined : drained();
    },
    end: () => {
      response.end();
    },
  };
}
