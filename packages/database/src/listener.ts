// LISTEN on a connection of its own that comes back by itself, and says how long ago it was last known to be alive:
// who caches by its notifications must know when they cannot have arrived.
import { errorMessage, type Logger } from "@ectus/core";
import type pg from "pg";

export interface ListenOptions {
  readonly connect: () => pg.Client;
  readonly handlers: Readonly<Record<string, (payload: string) => void>>;
  /** Called when notifications may have been missed: at each new connection. */
  readonly onGap: () => void;
  readonly log: Logger;
}

export interface Listener {
  /** Resolves when it listens for the first time. */
  readonly ready: Promise<void>;
  /** Milliseconds of `performance.now()` up to which every notification has been delivered; -Infinity if unknown. */
  deliveredUpTo(): number;
  close(): Promise<void>;
}

const heartbeatMs = 250;
const heartbeatTimeoutMs = 1_000;
const reconnectMs = { first: 50, most: 2_000 };

export function listen({ connect, handlers, onGap, log }: ListenOptions): Listener {
  let closed = false;
  let client: pg.Client | undefined;
  let deliveredUpTo = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let delayMs = reconnectMs.first;
  const { promise: ready, resolve: markReady } = Promise.withResolvers<void>();

  function lost(broken: pg.Client, reason: string): void {
    if (client !== broken) return;
    client = undefined;
    deliveredUpTo = Number.NEGATIVE_INFINITY;
    clearTimeout(timer);
    broken.end().catch(() => {});
    if (closed) return;
    log.warn({ reason }, "notification connection lost");
    timer = setTimeout(open, delayMs);
    timer.unref();
    delayMs = Math.min(delayMs * 2, reconnectMs.most);
  }

  async function open(): Promise<void> {
    const opening = connect();
    client = opening;
    opening.on("error", (error) => lost(opening, error.message));
    opening.on("end", () => lost(opening, "closed by the server"));
    opening.on("notification", ({ channel, payload }) => handlers[channel]?.(payload ?? ""));
    try {
      await opening.connect();
      for (const channel of Object.keys(handlers))
        await opening.query(`listen ${opening.escapeIdentifier(channel)}`);
      if (client !== opening) return;
      onGap();
      delayMs = reconnectMs.first;
      await beat(opening);
      markReady();
    } catch (error) {
      lost(opening, errorMessage(error));
    }
  }

  // Notifications committed before a query was sent arrive before its answer, so an answer vouches for that time.
  async function beat(on: pg.Client): Promise<void> {
    const sentAt = performance.now();
    const timeout = setTimeout(() => lost(on, "no answer to a heartbeat"), heartbeatTimeoutMs);
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
      await open?.end().catch(() => {});
    },
  };
}
