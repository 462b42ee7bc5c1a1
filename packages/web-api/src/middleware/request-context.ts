// Gives every request its ids: the correlation id of the caller if it is sane, else a new one.
import { newUuid, type RequestContext, runInContext } from "@ectus/core";
import type { FastifyInstance } from "fastify";
import { publicId } from "../public-ids.ts";

// Long enough for what tracing systems use, and nothing that could break a log line or a header.
const sanePattern = /^[A-Za-z0-9._:/+=@-]{1,128}$/;

/** A new request id. */
export const newRequestId = (): string => publicId("req_", newUuid());

/** The value of an id header, if it is safe to pass on. */
function saneId(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" && sanePattern.test(header) ? header : undefined;
}

declare module "fastify" {
  interface FastifyRequest {
    context: RequestContext;
  }
}

export function addRequestContext(app: FastifyInstance): void {
  app.decorateRequest("context");
  app.addHook("onRequest", (request, reply, done) => {
    const correlationId =
      saneId(request.headers["x-correlation-id"]) ?? saneId(request.headers["x-request-id"]) ?? request.id;
    const context: RequestContext = { correlationId, requestId: request.id };
    request.context = context;
    reply.header("x-request-id", request.id);
    runInContext(context, done);
  });
  // Reading a body ends in the socket's own context: what follows runs in the request's again.
  app.addHook("preValidation", (request, _reply, done) => runInContext(request.context, done));
}
