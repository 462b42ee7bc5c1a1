// Stops in order: while requests in progress end, the server still listens, says that it is not ready, and refuses
// new requests with an answer that clients know how to take.
import type { ServerResponse } from "node:http";
import { EctusError } from "@ectus/core";
import type { FastifyInstance } from "fastify";
import { markAnswered } from "./answered-status.ts";

export interface Shutdown {
  readonly stopping: boolean;
  /** Requests that are not over. */
  readonly inProgress: number;
  /** From now on new requests are refused with `shutting_down`. */
  begin(): void;
  /** Cuts requests whose bodies have not arrived: there is nobody in this process to end them. */
  cutUnread(): void;
  /** Resolves with true when no request is in progress, or with false after `timeoutMs`. */
  drained(timeoutMs: number): Promise<boolean>;
}

/** What a client that meets a server that stops is told. */
export const shuttingDown = (): EctusError => new EctusError("shutting_down", { retryAfterSeconds: 1 });

export function addShutdown(app: FastifyInstance): Shutdown {
  const inProgress = new Set<ServerResponse>();
  const handled = new WeakSet<ServerResponse>();
  const waiting = new Set<() => void>();
  let stopping = false;

  app.addHook("onRequest", (request, reply, done) => {
    const response = reply.raw;
    inProgress.add(response);
    response.once("close", () => {
      inProgress.delete(response);
      if (inProgress.size === 0) for (const tell of waiting) tell();
    });
    if (!stopping) return done();
    reply.header("connection", "close");
    if (request.url.startsWith("/health/")) done();
    else done(shuttingDown());
  });

  app.addHook("preHandler", (_request, reply, done) => {
    handled.add(reply.raw);
    done();
  });

  return {
    get stopping() {
      return stopping;
    },
    get inProgress() {
      return inProgress.size;
    },
    begin() {
      stopping = true;
    },
    cutUnread() {
      for (const response of inProgress) {
        if (handled.has(response)) continue;
        markAnswered(response, shuttingDown().status);
        response.destroy();
      }
    },
    drained: (timeoutMs) =>
      new Promise((resolve) => {
        if (inProgress.size === 0) {
          resolve(true);
          return;
        }
        const finish = (done: boolean): void => {
          clearTimeout(timer);
          waiting.delete(tell);
          resolve(done);
        };
        const tell = (): void => finish(true);
        const timer = setTimeout(() => finish(false), timeoutMs);
        waiting.add(tell);
      }),
  };
}
