// The operator's endpoints: tenants, their limits and their keys.
import { apiKeyDigest, apiKeyPrefix, createApiKey, EctusError } from "@ectus/core";
import {
  type ApiKeyRow,
  createTenant,
  type Database,
  getTenant,
  insertApiKey,
  listApiKeys,
  listTenants,
  revokeApiKey,
  spentTokens,
  type TenantRecord,
  updateTenant,
} from "@ectus/database";
import Type from "typebox";
import type { App } from "../app.ts";
import { actorOf } from "../caller.ts";
import { monthOf } from "../limits/token-budgets.ts";
import { isUuid } from "../public-ids.ts";
import { errorAnswers, Page, toPage } from "../schemas.ts";
import { refuseUnstorable } from "../storable-text.ts";

export interface TenantsOptions {
  readonly database: Database;
  /** The newest secret: new keys are stored under it. */
  readonly apiKeySecret: string;
}

const Name = Type.String({ minLength: 1, maxLength: 200 });
const PerMinute = Type.Union([Type.Integer({ minimum: 1, maximum: 2_147_483_647 }), Type.Null()]);
const Limits = {
  requests_per_minute: Type.Optional(PerMinute),
  tokens_per_minute: Type.Optional(PerMinute),
  monthly_token_budget: Type.Optional(
    Type.Union([Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), Type.Null()]),
  ),
};
const TenantParams = Type.Object({ tenantId: Type.String() });
const KeyParams = Type.Object({ tenantId: Type.String(), keyId: Type.String() });
const NullableInteger = Type.Union([Type.Integer(), Type.Null()]);
const NullableTime = Type.Union([Type.String({ format: "date-time" }), Type.Null()]);
const limitFields = {
  requests_per_minute: NullableInteger,
  tokens_per_minute: NullableInteger,
  monthly_token_budget: NullableInteger,
};
const Tenant = Type.Object({
  id: Type.String(),
  object: Type.Literal("tenant"),
  name: Type.String(),
  state: Type.Enum(["active", "suspended"]),
  created_at: Type.String({ format: "date-time" }),
  limits: Type.Object(limitFields),
});
const TenantLimitsAnswer = Type.Object({
  object: Type.Literal("tenant.limits"),
  tenant_id: Type.String(),
  spent_tokens: Type.Integer({ description: "Of the current month in UTC" }),
  ...limitFields,
});
const keyFields = {
  id: Type.String(),
  object: Type.Literal("api_key"),
  tenant_id: Type.String(),
  name: Type.String(),
  prefix: Type.String(),
  scopes: Type.Array(Type.String()),
  requests_per_minute: NullableInteger,
  tokens_per_minute: NullableInteger,
  created_at: Type.String({ format: "date-time" }),
  expires_at: NullableTime,
  revoked_at: NullableTime,
  last_used_at: NullableTime,
};
const ApiKey = Type.Object(keyFields);
const NewApiKeyAnswer = Type.Object({ ...keyFields, key: Type.String() });
const answers = <T extends Type.TSchema>(schema: T) => ({ "2xx": schema, ...errorAnswers });
const config = { scope: "operator" } as const;
const closed = { additionalProperties: false };

export function addTenants(app: App, { database, apiKeySecret }: TenantsOptions): void {
  const tags = ["Operator"];

  app.post(
    "/admin/tenants",
    {
      config,
      schema: {
        tags,
        summary: "Makes a tenant",
        body: Type.Object({ name: Name, ...Limits }, closed),
        response: answers(Tenant),
      },
    },
    async (request, reply) => {
      refuseUnstorable(request.body.name, "name");
      return reply.status(201).send(toTenant(await createTenant(database, request.body, actorOf(request))));
    },
  );

  app.get(
    "/admin/tenants",
    {
      config,
      schema: {
        tags,
        summary: "Lists tenants in the order in which they were made",
        querystring: Type.Object({
          limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 100 }),
          after: Type.Optional(Type.String({ maxLength: 64 })),
        }),
        response: answers(Page(Tenant)),
      },
    },
    async (request) => {
      const { limit, after } = request.query;
      const rows = await listTenants(database, {
        limit: limit + 1,
        ...(after === undefined ? {} : { after: uuidOf(after, "tenant") }),
      });
      return toPage(rows.map(toTenant), limit);
    },
  );

  app.get(
    "/admin/tenants/:tenantId",
    {
      config,
      schema: { tags, summary: "Describes a tenant", params: TenantParams, response: answers(Tenant) },
    },
    async (request) => toTenant(await getTenant(database, uuidOf(request.params.tenantId, "tenant"))),
  );

  app.patch(
    "/admin/tenants/:tenantId",
    {
      config,
      schema: {
        tags,
        summary: "Renames, suspends or activates a tenant",
        params: TenantParams,
        body: Type.Object(
          { name: Type.Optional(Name), state: Type.Optional(Type.Enum(["active", "suspended"])) },
          { ...closed, minProperties: 1 },
        ),
        response: answers(Tenant),
      },
    },
    async (request) => {
      if (request.body.name !== undefined) refuseUnstorable(request.body.name, "name");
      const id = uuidOf(request.params.tenantId, "tenant");
      return toTenant(await updateTenant(database, id, request.body, actorOf(request)));
    },
  );

  app.get(
    "/admin/tenants/:tenantId/limits",
    {
      config,
      schema: {
        tags,
        summary: "Returns a tenant's limits",
        params: TenantParams,
        response: answers(TenantLimitsAnswer),
      },
    },
    async (request) => {
      const tenant = await getTenant(database, uuidOf(request.params.tenantId, "tenant"));
      return toLimits(tenant, await spentThisMonth(database, tenant.id));
    },
  );

  app.put(
    "/admin/tenants/:tenantId/limits",
    {
      config,
      schema: {
        tags,
        summary: "Changes a tenant's limits; null is no limit, and what is left out stays",
        params: TenantParams,
        body: Type.Object(Limits, { ...closed, minProperties: 1 }),
        response: answers(TenantLimitsAnswer),
      },
    },
    async (request) => {
      const id = uuidOf(request.params.tenantId, "tenant");
      const tenant = await updateTenant(database, id, request.body, actorOf(request));
      return toLimits(tenant, await spentThisMonth(database, id));
    },
  );

  app.post(
    "/admin/tenants/:tenantId/keys",
    {
      config,
      schema: {
        tags,
        summary: "Makes an API key; the answer is the only time that it is shown",
        params: TenantParams,
        body: Type.Object(
          {
            name: Name,
            scopes: Type.Array(Type.Enum(["inference", "admin"]), {
              minItems: 1,
              maxItems: 2,
              uniqueItems: true,
              default: ["inference"],
            }),
            expires_at: Type.Optional(Type.Union([Type.String({ format: "date-time" }), Type.Null()])),
            requests_per_minute: Type.Optional(PerMinute),
            tokens_per_minute: Type.Optional(PerMinute),
          },
          closed,
        ),
        response: answers(NewApiKeyAnswer),
      },
    },
    async (request, reply) => {
      const { name, scopes, expires_at, requests_per_minute, tokens_per_minute } = request.body;
      refuseUnstorable(name, "name");
      const tenant = await getTenant(database, uuidOf(request.params.tenantId, "tenant"));
      const key = createApiKey();
      const row = await insertApiKey(
        database,
        {
          tenantId: tenant.id,
          name,
          prefix: apiKeyPrefix(key),
          digest: apiKeyDigest(key, apiKeySecret),
          scopes,
          expiresAt: expires_at == null ? null : parseTime(expires_at),
          requestsPerMinute: requests_per_minute ?? null,
          tokensPerMinute: tokens_per_minute ?? null,
        },
        actorOf(request),
      );
      return reply.status(201).send({ ...toKey(row), key });
    },
  );

  app.get(
    "/admin/tenants/:tenantId/keys",
    {
      config,
      schema: {
        tags,
        summary: "Lists a tenant's API keys",
        params: TenantParams,
        response: answers(Page(ApiKey)),
      },
    },
    async (request) => {
      const tenant = await getTenant(database, uuidOf(request.params.tenantId, "tenant"));
      const rows = await listApiKeys(database, tenant.id);
      return toPage(rows.map(toKey), rows.length);
    },
  );

  app.delete(
    "/admin/tenants/:tenantId/keys/:keyId",
    { config, schema: { tags, summary: "Revokes an API key", params: KeyParams, response: answers(ApiKey) } },
    async (request) => {
      const { tenantId, keyId } = request.params;
      const tenant = await getTenant(database, uuidOf(tenantId, "tenant"));
      return toKey(await revokeApiKey(database, tenant.id, uuidOf(keyId, "API key"), actorOf(request)));
    },
  );
}

function uuidOf(id: string, what: string): string {
  if (!isUuid(id)) throw new EctusError("not_found", { what, id });
  return id;
}

/** Not every time that RFC 3339 allows is a Date: leap seconds are none. */
function parseTime(text: string): Date {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) {
    throw new EctusError("invalid_request", {
      param: "expires_at",
      reason: "The field 'expires_at' is not valid: it is no time that this platform knows.",
    });
  }
  return time;
}

function toTenant({ id, name, state, created_at, ...row }: TenantRecord) {
  return {
    id,
    object: "tenant" as const,
    name,
    state,
    created_at: created_at.toISOString(),
    limits: limitsOf(row),
  };
}

function limitsOf(
  row: Pick<TenantRecord, "requests_per_minute" | "tokens_per_minute" | "monthly_token_budget">,
) {
  const { requests_per_minute, tokens_per_minute, monthly_token_budget } = row;
  return { requests_per_minute, tokens_per_minute, monthly_token_budget };
}

const toLimits = (row: TenantRecord, spent_tokens: number) => ({
  object: "tenant.limits" as const,
  tenant_id: row.id,
  ...limitsOf(row),
  spent_tokens,
});

const spentThisMonth = (database: Database, tenantId: string): Promise<number> =>
  spentTokens(database, tenantId, monthOf(new Date()));

function toKey({ tenant_id, id, name, prefix, scopes, ...row }: ApiKeyRow) {
  return {
    id,
    object: "api_key" as const,
    tenant_id,
    name,
    prefix,
    scopes,
    requests_per_minute: row.requests_per_minute,
    tokens_per_minute: row.tokens_per_minute,
    created_at: row.created_at.toISOString(),
    expires_at: row.expires_at?.toISOString() ?? null,
    revoked_at: row.revoked_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
  };
}
