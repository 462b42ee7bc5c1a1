// Checks the API key of every route that names a scope, before the body is read.
import { EctusError, isApiKey } from "@ectus/core";
import type { FastifyInstance } from "fastify";
import type { KeyCache } from "../key-cache.ts";

const bearer = /^Bearer +(\S+) *$/i;

export function addAuthentication(app: FastifyInstance, keys: KeyCache): void {
  app.decorateRequest("caller", null);
  app.addHook("onRequest", async (request) => {
    const { scope } = request.routeOptions.config;
    if (scope === undefined) return;
    const key = bearer.exec(request.headers.authorization ?? "")?.[1];
    if (key === undefined) throw new EctusError("missing_api_key");
    const record = isApiKey(key) ? await keys.find(key) : undefined;
    if (record === undefined || record.revokedAt !== null) throw new EctusError("invalid_api_key");
    if (record.expiresAt !== null && record.expiresAt.getTime() <= Date.now())
      throw new EctusError("api_key_expired");
    if (record.tenantState !== "active") throw new EctusError("tenant_suspended");
    if (!record.scopes.includes(scope)) throw new EctusError("permission_denied", { scope });
    request.caller = record;
    request.context.tenantId = record.tenantId;
  });
}
