// The operator's endpoints: tenants, limits, keys, and what the audit log keeps of each change.

import { once } from "node:events";
import { createServer } from "node:net";
import type { Database } from "@ectus/database";
import { startServer } from "@ectus/web-api";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Answer, chatModel, startApi, type TestApi } from "./start-api.ts";

let api: TestApi;

beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

const admin = (method: string, path: string, body?: unknown): Promise<Answer> =>
  api.request(method, `/admin/tenants${path}`, {
    key: api.operatorKey,
    ...(body === undefined ? {} : { body }),
  });

async function makeTenant(body: object = { name: "Acme" }): Promise<string> {
  const { status, json } = await admin("POST", "", body);
  expect(status).toBe(201);
  return json.id;
}

const ask = (key: string): Promise<Answer> =>
  api.request("POST", "/v1/chat/completions", {
    key,
    body: { model: chatModel, messages: [{ role: "user", content: "Hi" }], max_tokens: 10 },
  });

test("a tenant is made, described, renamed and listed", async () => {
  const made = await admin("POST", "", { name: "Acme", requests_per_minute: 7, monthly_token_budget: null });
  expect(made.status).toBe(201);
  expect(made.json).toEqual({
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    object: "tenant",
    name: "Acme",
    state: "active",
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    limits: { requests_per_minute: 7, tokens_per_minute: null, monthly_token_budget: null },
  });
  const { id } = made.json;
  expect((await admin("GET", `/${id}`)).json).toEqual(made.json);
  expect((await admin("PATCH", `/${id}`, { name: "Acme Ltd" })).json).toEqual({
    ...made.json,
    name: "Acme Ltd",
  });

  const more = [await makeTenant({ name: "B" }), await makeTenant({ name: "C" })];
  const seen: string[] = [];
  for (let after = ""; ; ) {
    const { json } = await admin("GET", `?limit=1${after}`);
    seen.push(...json.data.map((tenant: { id: string }) => tenant.id));
    if (!json.has_more) break;
    after = `&after=${json.last_id}`;
  }
  expect(seen).toEqual(expect.arrayContaining([id, ...more]));
  expect(seen).toEqual(seen.toSorted());
  expect(seen).not.toContain("00000000-0000-0000-0000-000000000000");
});

test("a key is shown once, works, is listed without itself, and is refused when it is revoked", async () => {
  const id = await makeTenant();
  const made = await admin("POST", `/${id}/keys`, {
    name: "Build server",
    expires_at: "2999-01-01T00:00:00Z",
    requests_per_minute: 100,
  });
  expect(made.status).toBe(201);
  const { key, ...shown } = made.json;
  expect(shown).toMatchObject({
    object: "api_key",
    tenant_id: id,
    name: "Build server",
    scopes: ["inference"],
    requests_per_minute: 100,
    tokens_per_minute: null,
    expires_at: "2999-01-01T00:00:00.000Z",
    revoked_at: null,
    last_used_at: null,
  });
  expect(key.startsWith(shown.prefix)).toBe(true);
  expect((await ask(key)).status).toBe(200);
  const listed = await admin("GET", `/${id}/keys`);
  expect(listed.text).not.toContain(key);
  expect(listed.json.data).toMatchObject([{ id: shown.id, last_used_at: expect.any(String) }]);

  const revoked = await admin("DELETE", `/${id}/keys/${shown.id}`);
  expect(revoked.json.revoked_at).toEqual(expect.any(String));
  expect((await admin("DELETE", `/${id}/keys/${shown.id}`)).json).toEqual(revoked.json);
  await expect.poll(async () => (await ask(key)).status, { timeout: 1_000, interval: 10 }).toBe(401);
});

test("a suspended tenant is refused until it is active again", async () => {
  const id = await makeTenant();
  const { key } = (await admin("POST", `/${id}/keys`, { name: "k", scopes: ["inference", "admin"] })).json;
  expect((await ask(key)).status).toBe(200);
  await admin("PATCH", `/${id}`, { state: "suspended" });
  await expect.poll(async () => (await ask(key)).status, { timeout: 1_000, interval: 10 }).toBe(403);
  await admin("PATCH", `/${id}`, { state: "active" });
  await expect.poll(async () => (await ask(key)).status, { timeout: 1_000, interval: 10 }).toBe(200);
});

test("limits are changed one by one, and hold", async () => {
  const id = await makeTenant({ name: "Acme", tokens_per_minute: 1_000_000 });
  const { key } = (await admin("POST", `/${id}/keys`, { name: "k" })).json;
  const { usage } = (await ask(key)).json;
  const changed = await admin("PUT", `/${id}/limits`, { monthly_token_budget: 0 });
  expect(changed.json).toEqual({
    object: "tenant.limits",
    tenant_id: id,
    requests_per_minute: null,
    tokens_per_minute: 1_000_000,
    monthly_token_budget: 0,
    spent_tokens: usage.total_tokens,
  });
  expect((await admin("GET", `/${id}/limits`)).json).toEqual(changed.json);
  await expect
    .poll(async () => (await ask(key)).json.error?.code, { timeout: 1_000, interval: 10 })
    .toBe("insufficient_quota");
  await admin("PUT", `/${id}/limits`, { monthly_token_budget: null, tokens_per_minute: null });
  await expect.poll(async () => (await ask(key)).status, { timeout: 1_000, interval: 10 }).toBe(200);
});

test("what is not known or not possible is refused with its name", async () => {
  const id = await makeTenant();
  const cases: [string, string, object, string][] = [
    ["POST", "", {}, "name"],
    ["POST", "", { name: "" }, "name"],
    ["POST", "", { name: "x".repeat(201) }, "name"],
    ["POST", "", { name: "x", plan: "gold" }, "plan"],
    ["POST", "", { name: "x", requests_per_minute: 0 }, "requests_per_minute"],
    ["POST", "", { name: "x", monthly_token_budget: 1e300 }, "monthly_token_budget"],
    ["PATCH", `/${id}`, { state: "deleted" }, "state"],
    ["PUT", `/${id}/limits`, { name: "x" }, "name"],
    ["POST", `/${id}/keys`, { name: "x", scopes: ["operator"] }, "scopes[0]"],
    ["POST", `/${id}/keys`, { name: "x", scopes: [] }, "scopes"],
    ["POST", `/${id}/keys`, { name: "x", expires_at: "tomorrow" }, "expires_at"],
    ["POST", `/${id}/keys`, { name: "x", expires_at: "2998-12-31T23:59:60Z" }, "expires_at"],
  ];
  for (const [method, path, body, param] of cases) {
    const { status, json } = await admin(method, path, body);
    expect(json.error, JSON.stringify(body)).toMatchObject({ code: "invalid_request", param });
    expect(status).toBe(400);
  }
  expect((await admin("PATCH", `/${id}`, {})).status).toBe(400);
});

test("every change is in the audit log with who made it, and none with a key in it", async () => {
  const id = await makeTenant();
  const { id: keyId, key } = (await admin("POST", `/${id}/keys`, { name: "k" })).json;
  const { headers } = await admin("PATCH", `/${id}`, { name: "New name" });
  await admin("DELETE", `/${id}/keys/${keyId}`);
  const entries = await api.sql<Record<string, unknown>>(
    "select * from audit_log where target_id in ($1, $2) order by created_at",
    [id, keyId],
  );
  expect(entries.map(({ action }) => action)).toEqual([
    "tenant.created",
    "api_key.created",
    "tenant.updated",
    "api_key.revoked",
  ]);
  for (const entry of entries)
    expect(entry).toMatchObject({ actor_type: "operator", actor_id: expect.any(String) });
  expect(entries[2]?.request_id).toBe(headers.get("x-request-id"));
  expect(JSON.stringify(entries)).not.toContain(key);
});

test("a server that cannot listen leaves nothing running", async () => {
  const blocker = createServer().listen(0, "127.0.0.1");
  await once(blocker, "listening");
  const { port } = blocker.address() as { port: number };
  let listening = 0;
  const database: Database = {
    ...api.database,
    listen(options) {
      const listener = api.database.listen(options);
      listening += 1;
      return {
        ...listener,
        async close() {
          await listener.close();
          listening -= 1;
        },
      };
    },
  };
  const options = { ...api.serverOptions, database, port };
  await expect(startServer(options)).rejects.toMatchObject({ code: "EADDRINUSE" });
  expect(listening).toBe(0);
  blocker.close();
});
