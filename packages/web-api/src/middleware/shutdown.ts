// Stops in order: while requests in progress end, the server still listens, says that it is not ready, and refuses
// new requests with an answer that clients know how to take.
import { EctusError } from "@ectus/core";
import type { FastifyInstance } from "fastify";
import { exchangeOf } from "./exchange.ts";
import type { Exchanges } from "./exchanges.ts";
import { markAnswered } from "./request-outcome.ts";

export interface Shutdown {
  readonly stopping: boolean;
  /** From now on new requests are refused with `shutting_down`. */
  begin(): void;
  /** Cuts requests whose bodies have not arrived: there is nobody in this process to end them. */
  cutUnread(): void;
  /** Resolves with true when no request is in progress, or with false after `timeoutMs`. */
  drained(timeoutMs: number): Promise<boolean>;
}

/** What a client that meets a server that stops is told. */
export const shuttingDown = (): EctusError => new EctusError("shutting_down", { retryAfterSeconds: 1 });

export function addShutdown(app: FastifyInstance, exchanges: Exchanges): Shutdown {
  let stopping = false;

  app.addHook("onRequest", (request, reply, done) => {
    if (!stopping) return done();
    reply.header("connection", "close");
    if (request.url.startsWith("/health/")) done();
    else done(shuttingDown());
  });

  app.addHook("preHandler", (_request, reply, done) => {
    const exchange = exchangeOf(reply.raw);
    if (exchange !== undefined) exchange.isHandled = true;
    done();
  });

  return {
    get stopping() {
      return stopping;
    },
    begin() {
      stopping = true;
    },
    cutUnread() {
      for (const exchange of exchanges.open()) {
        if (exchange.isHandled) continue;
        markAnswered(exchange, shuttingDown());
        exchange.response.destroy();
      }
    },
    drained: (timeoutMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => resolve(false), timeoutMs);
        exchanges.idle().then(() => {
          clearTimeout(timer);
          resolve(true);
        });
      }),
  };
}
