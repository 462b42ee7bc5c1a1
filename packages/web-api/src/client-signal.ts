// A signal that is aborted when the client goes away before its answer is complete.
import type { FastifyReply, FastifyRequest } from "fastify";

export function clientSignal(_request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  const response = reply.raw;
  response.once("close", () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}
