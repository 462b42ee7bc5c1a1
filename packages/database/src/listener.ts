// LISTEN on a connection of its own that comes back by itself, and says how long ago it was last known to be alive:
// who caches by its notifications must know when they cannot have arrived.
import { errorMessage, type Logger } from "@ectus/core";
import type pg from "pg";
import { endClient } from "./end-client.ts";
import { type ConnectionErrorReason, connectionErrorReason } from "./error-reasons.ts";

export interface ListenOptions {
  readonly connect: () => pg.Client;
  readonly handlers: Readonly<Record<string, (payload: string) => void>>;
  /** Called when notifications may have been missed: at each new connection. */
  readonly onGap: () => void;
  /** Called for each connection that could not be made or was lost. */
  readonly onLost?: (reason: ConnectionErrorReason) => void;
  readonly log: Logger;
  /** How long a new connection may take until it listens; 5,000 by default. */
  readonly openTimeoutMs?: number;
}

export interface Listener {
  /** Resolves when it listens for the first time, or is closed before. */
  readonly ready: Promise<void>;
  /** Milliseconds of `performance.now()` up to which every notification has been delivered; -Infinity if unknown. */
  deliveredUpTo(): number;
  close(): Promise<void>;
}

const heartbeatMs = 250;
const heartbeatTimeoutMs = 1_000;
const reconnectMs = { first: 50, most: 2_000 };

export function listen(options: ListenOptions): Listener {
  const { connect, handlers, onGap, onLost, log, openTimeoutMs = 5_000 } = options;
  let closed = false;
  let client: pg.Client | undefined;
  let deliveredUpTo = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let delayMs = reconnectMs.first;
  const { promise: ready, resolve: markReady } = Promise.withResolvers<void>();

  function lost(broken: pg.Client, message: string, reason: ConnectionErrorReason = "lost"): void {
    if (client !== broken) return;
    client = undefined;
    deliveredUpTo = Number.NEGATIVE_INFINITY;
    clearTimeout(timer);
    void endClient(broken);
    if (closed) return;
    onLost?.(reason);
    log.warn({ reason: message }, "notification connection lost");
    timer = setTimeout(open, delayMs);
    timer.unref();
    delayMs = Math.min(delayMs * 2, reconnectMs.most);
  }

  async function open(): Promise<void> {
    const opening = connect();
    client = opening;
    let isOpen = false;
    const timeout = setTimeout(() => lost(opening, "no answer to LISTEN", "timeout"), openTimeoutMs);
    timeout.unref();
    opening.on("error", (error) => lost(opening, error.message));
    opening.on("end", () => lost(opening, "closed by the server"));
    opening.on("notification", ({ channel, payload }) => handlers[channel]?.(payload ?? ""));
    try {
      await opening.connect();
      isOpen = true;
      for (const channel of Object.keys(handlers))
        await opening.query(`listen ${opening.escapeIdentifier(channel)}`);
      if (client !== opening) return;
      onGap();
      delayMs = reconnectMs.first;
      await beat(opening);
      markReady();
    } catch (error) {
      lost(opening, errorMessage(error), isOpen ? "lost" : connectionErrorReason(error));
    } finally {
      clearTimeout(timeout);
    }
  }

  // Notifications committed before a query was sent arrive before its answer, so an answer vouches for that time.
  async function beat(on: pg.Client): Promise<void> {
    const sentAt = performance.now();
    const timeout = setTimeout(() => lost(on, "no answer to a heartbeat", "timeout"), heartbeatTimeoutMs);
    timeout.unref();
    try {
      await on.query("select 1");
    } catch (error) {
      lost(on, errorMessage(error));
      return;
    } finally {
      clearTimeout(timeout);
    }
    if (client !== on) return;
    deliveredUpTo = sentAt;
    timer = setTimeout(() => beat(on), heartbeatMs);
    timer.unref();
  }

  void open();
  return {
    ready,
    deliveredUpTo: () => deliveredUpTo,
    async close() {
      closed = true;
      clearTimeout(timer);
      const open = client;
      client = undefined;
      markReady();
      if (open !== undefined) await endClient(open);
    },
  };
}
