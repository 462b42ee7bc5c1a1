// One log line per request.
import type { Logger } from "@ectus/core";
import type { FastifyInstance } from "fastify";

export function addAccessLog(app: FastifyInstance, log: Logger): void {
  app.addHook("onResponse", (request, reply, done) => {
    const status = reply.raw.writableFinished || reply.statusCode >= 400 ? reply.statusCode : 499;
    log.info(
      {
        method: request.method,
        path: request.routeOptions.url ?? "unmatched",
        status,
        durationMs: Math.round(reply.elapsedTime * 1_000) / 1_000,
        ...request.context,
      },
      "request",
    );
    done();
  });
}
