// Access to every route of the table: without a key, with keys that must not do, and to what belongs to others. A
// route that is not described below fails these tests, so that none is added without them.
import { randomUUID } from "node:crypto";
import { createApiKey } from "@ectus/core";
import { platformTenantId, revokeApiKey } from "@ectus/database";
import type { RouteInfo } from "@ectus/web-api";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeReadyExport } from "./ready-export.ts";
import {
  type Answer,
  chatModel,
  embeddingModel,
  startApi,
  type TestApi,
  type TestTenant,
} from "./start-api.ts";

/** What a route works on: its ids are asked for as their owner, as another tenant, and where there are none. */
type Resource = "file" | "completion" | "export" | "tenant" | "key";

interface RouteDescription {
  readonly body?: object;
  /** What `:id` and the like stand for; "shared" belongs to no tenant. */
  readonly params?: Resource | "shared";
  /** It lists the caller's resources. */
  readonly lists?: Resource;
}

const chat = { model: chatModel, messages: [{ role: "user", content: "Hi" }] };

/** Every route that needs a key. HEAD is as GET. */
const described: Readonly<Record<string, RouteDescription>> = {
  "GET /v1/models": {},
  "GET /v1/models/:id": { params: "shared" },
  "POST /v1/chat/completions": { body: chat },
  "GET /v1/chat/completions": { lists: "completion" },
  "GET /v1/chat/completions/:id": { params: "completion" },
  "POST /v1/chat/completions/:id": { params: "completion", body: { metadata: { changed: "yes" } } },
  "DELETE /v1/chat/completions/:id": { params: "completion" },
  "GET /v1/chat/completions/:id/messages": { params: "completion" },
  "POST /v1/embeddings": { body: { model: embeddingModel, input: "x" } },
  "POST /v1/files": {},
  "GET /v1/files": { lists: "file" },
  "GET /v1/files/:id": { params: "file" },
  "GET /v1/files/:id/content": { params: "file" },
  "DELETE /v1/files/:id": { params: "file" },
  "POST /admin/tenants": { body: { name: "New" } },
  "GET /admin/tenants": {},
  "GET /admin/tenants/:tenantId": { params: "tenant" },
  "PATCH /admin/tenants/:tenantId": { params: "tenant", body: { name: "Renamed" } },
  "GET /admin/tenants/:tenantId/limits": { params: "tenant" },
  "PUT /admin/tenants/:tenantId/limits": { params: "tenant", body: { requests_per_minute: 5 } },
  "POST /admin/tenants/:tenantId/keys": { params: "tenant", body: { name: "New" } },
  "GET /admin/tenants/:tenantId/keys": { params: "tenant" },
  "DELETE /admin/tenants/:tenantId/keys/:keyId": { params: "key" },
  "POST /v1/exports": {},
  "GET /v1/exports": { lists: "export" },
  "GET /v1/exports/:id": { params: "export" },
  "DELETE /v1/exports/:id": { params: "export" },
  "GET /v1/exports/:id/download": { params: "export" },
  "GET /v1/exports/:id/files/*": { params: "export" },
  "POST /admin/tenants/:tenantId/exports": { params: "tenant" },
  "GET /admin/tenants/:tenantId/exports": { params: "tenant" },
  "GET /admin/tenants/:tenantId/exports/:id": { params: "export" },
  "DELETE /admin/tenants/:tenantId/exports/:id": { params: "export" },
  "GET /admin/tenants/:tenantId/exports/:id/download": { params: "export" },
  "GET /admin/tenants/:tenantId/exports/:id/files/*": { params: "export" },
  "GET /admin/log-levels": {},
  "PUT /admin/log-levels": { body: { levels: "info" } },
  "DELETE /admin/log-levels": {},
};

/** The routes that need no key. */
const open = [/^\/health\/(live|ready)$/, /^\/v1\/signing-keys$/, /^\/docs(\/.*)?$/];

interface Owned {
  readonly tenant: TestTenant;
  readonly adminKey: string;
  readonly ids: Readonly<Record<Resource, string>>;
}

let api: TestApi;
let owner: Owned;
let other: Owned;
let routes: readonly RouteInfo[];

beforeAll(async () => {
  api = await startApi();
  [owner, other] = await Promise.all([makeOwner("first"), makeOwner("second")]);
  routes = api.server.routes.filter(({ scope }) => scope !== undefined);
});
afterAll(() => api.close());

async function makeOwner(name: string): Promise<Owned> {
  const tenant = await api.makeTenant();
  const file = await tenant.client.files.create({
    file: new File([name], `${name}.txt`),
    purpose: "user_data",
  });
  const completion = await tenant.client.chat.completions.create({
    model: chatModel,
    messages: [{ role: "user", content: `A secret of the ${name}` }],
    store: true,
  });
  const admin = await api.makeKey(tenant.id, ["admin"]);
  const { id } = await makeReadyExport(api, tenant.id);
  return {
    tenant,
    adminKey: admin.key,
    ids: { file: file.id, completion: completion.id, export: id, tenant: tenant.id, key: admin.id },
  };
}

const keyOf = ({ method, url }: RouteInfo): string => `${method === "HEAD" ? "GET" : method} ${url}`;

function describedAs(route: RouteInfo): RouteDescription {
  const found = described[keyOf(route)];
  if (found === undefined) throw new Error(`${keyOf(route)} is not described in this test`);
  return found;
}

/** The path of a route for the resource with this id; an operator reaches what is a tenant's through the owner. */
function pathFor({ url }: RouteInfo, params: RouteDescription["params"], id: string): string {
  const path = params === "tenant" ? url : url.replace(":tenantId", owner.ids.tenant);
  return path.replace(/:\w+/, id).replace("*", "bagit.txt");
}

/** The owner's key that opens a route, or the operator's. */
function keyFor({ scope }: RouteInfo): string {
  if (scope === "operator") return api.operatorKey;
  return scope === "admin" ? owner.adminKey : owner.tenant.key;
}

function call(route: RouteInfo, key: string | null, path = route.url): Promise<Answer> {
  const { body } = describedAs(route);
  return api.request(route.method, path, { key, ...(body === undefined ? {} : { body }) });
}

const summary = ({ status, json, headers }: Answer) => ({
  status,
  code: json?.error?.code,
  requestId: headers.get("x-request-id") !== null,
});

async function expectRefused(key: string | null, status: number, code: string, of = routes): Promise<void> {
  expect(of.length).toBeGreaterThan(0);
  for (const route of of) {
    const answer = await call(route, key);
    // An answer to HEAD has no body.
    const expected = { status, code: route.method === "HEAD" ? undefined : code, requestId: true };
    expect(summary(answer), `${route.method} ${route.url}`).toEqual(expected);
  }
}

test("every route that needs a key is described here, and every description is of a route", () => {
  expect([...new Set(routes.map(keyOf))].toSorted()).toEqual(Object.keys(described).toSorted());
  for (const route of routes) {
    expect(describedAs(route).params !== undefined, route.url).toBe(route.url.includes(":"));
  }
});

test("only the routes on the list need no key", () => {
  const keyless = api.server.routes.filter(({ scope }) => scope === undefined);
  const unlisted = keyless.filter(({ url }) => !open.some((pattern) => pattern.test(url)));
  expect(unlisted).toEqual([]);
  expect(keyless.length).toBeGreaterThan(4);
});

test("without a key every route is 401", () => expectRefused(null, 401, "missing_api_key"));

test("a key that is none is 401", async () => {
  await expectRefused("sk-wrong", 401, "invalid_api_key");
  await expectRefused(createApiKey(), 401, "invalid_api_key");
});

test("an expired key is 401", async () => {
  const { key } = await api.makeKey(owner.tenant.id, ["inference", "admin"], new Date(Date.now() - 1));
  await expectRefused(key, 401, "api_key_expired");
});

test("a revoked key is 401", async () => {
  const { id, key } = await api.makeKey(owner.tenant.id, ["inference", "admin"]);
  await revokeApiKey(api.database, owner.tenant.id, id, { actor: { type: "system" } });
  await expectRefused(key, 401, "invalid_api_key");
  const operator = await api.makeKey(platformTenantId, ["operator"]);
  await revokeApiKey(api.database, platformTenantId, operator.id, { actor: { type: "system" } });
  await expectRefused(operator.key, 401, "invalid_api_key");
});

test("a key with another scope is 403", async () => {
  const scopes = new Set(routes.map(({ scope }) => scope));
  expect([...scopes].toSorted()).toEqual(["admin", "inference", "operator"]);
  const of = (scope: string) => routes.filter((route) => route.scope === scope);
  await expectRefused(owner.adminKey, 403, "permission_denied", of("inference"));
  await expectRefused(api.operatorKey, 403, "permission_denied", of("inference"));
  await expectRefused(owner.tenant.key, 403, "permission_denied", of("operator"));
  await expectRefused(owner.adminKey, 403, "permission_denied", of("operator"));
  await expectRefused(owner.tenant.key, 403, "permission_denied", of("admin"));
  await expectRefused(api.operatorKey, 403, "permission_denied", of("admin"));
});

test("a key of a suspended tenant is 403", async () => {
  const suspended = await api.makeTenant();
  const { key } = await api.makeKey(suspended.id, ["inference", "admin"]);
  await api.suspend(suspended.id);
  await expectRefused(key, 403, "tenant_suspended");
});

test("what belongs to another tenant is not there, in the same words as what does not exist", async () => {
  const withParams = routes.filter((route) => !["shared", undefined].includes(describedAs(route).params));
  expect(withParams.length).toBeGreaterThan(10);
  for (const route of withParams) {
    const params = describedAs(route).params as Resource;
    const name = `${route.method} ${route.url}`;
    const unknownId = other.ids[params].replace(/[0-9a-f-]{32,}$/, (id) => {
      const fresh = randomUUID();
      return id.includes("-") ? fresh : fresh.replaceAll("-", "");
    });
    const key = keyFor(route);
    const unknown = await call(route, key, pathFor(route, params, unknownId));
    expect(unknown.status, name).toBe(404);
    if (route.method !== "HEAD") {
      expect(unknown.json.error, name).toMatchObject({ code: "not_found", type: "invalid_request_error" });
    }
    // The operator reaches every tenant, but what is a tenant's only through that tenant.
    if (params === "tenant") continue;
    const foreignId = other.ids[params];
    const foreign = await call(route, key, pathFor(route, params, foreignId));
    expect(foreign.status, name).toBe(404);
    expect(foreign.text.replaceAll(foreignId, unknownId), name).toBe(unknown.text);
  }
});

test("what was asked for in vain is unchanged for its owner", async () => {
  const { client } = other.tenant;
  expect(await (await client.files.content(other.ids.file)).text()).toBe("second");
  const stored = await client.chat.completions.retrieve(other.ids.completion);
  expect(stored.metadata).toEqual({});
  const exported = await api.request("GET", `/v1/exports/${other.ids.export}`, { key: other.adminKey });
  expect(exported.json.state).toBe("ready");
  const keys = await api.request("GET", `/admin/tenants/${other.tenant.id}/keys`, { key: api.operatorKey });
  expect(keys.json.data.every((key: { revoked_at: unknown }) => key.revoked_at === null)).toBe(true);
});

test("lists have what is the caller's and nothing else", async () => {
  const lists = routes.filter((route) => route.method === "GET" && describedAs(route).lists !== undefined);
  expect(lists.length).toBe(3);
  for (const route of lists) {
    const resource = describedAs(route).lists as Resource;
    const { json } = await call(route, keyFor(route));
    expect(
      json.data.map(({ id }: { id: string }) => id),
      route.url,
    ).toEqual([owner.ids[resource]]);
    // Nor does a place in another tenant's list lead there.
    for (const order of ["asc", "desc"]) {
      const page = await call(
        route,
        keyFor(route),
        `${route.url}?after=${other.ids[resource]}&order=${order}`,
      );
      expect(JSON.stringify(page.json), route.url).not.toContain(other.ids[resource]);
    }
  }
});

test("the owner reaches every route that has an id", async () => {
  const withParams = routes.filter((route) => !["shared", undefined].includes(describedAs(route).params));
  // What deletes comes last.
  const ordered = [
    ...withParams.filter(({ method }) => method !== "DELETE"),
    ...withParams.filter(({ method }) => method === "DELETE"),
  ];
  for (const route of ordered) {
    const params = describedAs(route).params as Resource;
    // Two routes delete exports, and each takes one.
    const isTaken = params === "export" && route.method === "DELETE";
    const id = isTaken ? (await makeReadyExport(api, owner.tenant.id)).id : owner.ids[params];
    const { status } = await call(route, keyFor(route), pathFor(route, params, id));
    expect([200, 201, 202], `${route.method} ${route.url} answered ${status}`).toContain(status);
  }
});
