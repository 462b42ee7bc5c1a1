// One log line per request, however it ends: also of a client that went away before its answer was complete.
import { type Logger, runInContext } from "@ectus/core";
import type { FastifyInstance } from "fastify";
import { answeredStatus } from "./answered-status.ts";

export function addAccessLog(app: FastifyInstance, log: Logger): void {
  app.addHook("onRequest", (request, reply, done) => {
    const response = reply.raw;
    // The framework's own hook is not called when the connection breaks.
    response.once("close", () => {
      runInContext(request.context, () =>
        log.info(
          {
            method: request.method,
            path: request.is404 ? "unmatched" : request.routeOptions.url,
            status: answeredStatus(response),
            durationMs: Math.round(reply.elapsedTime * 1_000) / 1_000,
          },
          "request",
        ),
      );
    });
    done();
  });
}
