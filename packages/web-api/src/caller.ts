// Who makes a request, as its API key says.
import type { Actor, ApiKeyRecord, Scope } from "@ectus/database";
import type { FastifyRequest } from "fastify";

export type Caller = ApiKeyRecord;

declare module "fastify" {
  interface FastifyRequest {
    /** Set by the authentication of routes that need a key. */
    caller: Caller | null;
    /** Bytes of the JSON body. */
    bodyBytes: number;
  }
  interface FastifyContextConfig {
    /** Scope that a key needs for this route; a route without one needs no key. */
    readonly scope?: Scope;
  }
}

/** The caller of a route that needs a key. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null)
    throw new Error(`route ${request.routeOptions.url} has no scope, so it has no caller`);
  return request.caller;
}

/** The caller as the audit log names it. */
export function actorOf(request: FastifyRequest): Actor {
  const caller = callerOf(request);
  const type = caller.scopes.includes("operator") ? "operator" : "api_key";
  return { actor: { type, id: caller.keyId }, requestId: request.id };
}
