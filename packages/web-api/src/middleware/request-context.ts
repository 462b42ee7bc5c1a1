// Gives every request its ids: the correlation id of the caller if it is sane, else a new one.
import type { IncomingHttpHeaders } from "node:http";
import { isSaneId, newHexUuid, type RequestContext } from "@ectus/core";

declare module "fastify" {
  interface FastifyRequest {
    context: RequestContext;
  }
}

/** A new request id. Without its prefix it can be the id of a trace. */
export const newRequestId = (): string => `req_${newHexUuid()}`;

/** The context of a request that tells nothing of whom it comes from. */
export function newContext(): RequestContext {
  const requestId = newRequestId();
  return { correlationId: requestId, requestId, span: undefined, tenantId: undefined };
}

/** The 32 hex digits of a request id. */
export const hexOfRequestId = (requestId: string): string => requestId.slice("req_".length);

/**
 * What a caller calls the work that its request is a part of: its `x-correlation-id`, else its `x-request-id`, each if
 * it is of sane form and length and nothing sensitive.
 */
export function correlationIdOf(headers: IncomingHttpHeaders): string | undefined {
  return saneId(headers["x-correlation-id"]) ?? saneId(headers["x-request-id"]);
}

/** The value of an id header, if it is safe to pass on. */
function saneId(header: string | string[] | undefined): string | undefined {
  return isSaneId(header) ? header : undefined;
}
