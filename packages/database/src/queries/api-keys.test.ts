import { randomBytes } from "node:crypto";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bySystem } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import { recordingLog } from "../../../../tests/postgres/recording-log.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { type Database, platformTenantId } from "../database.ts";
import { insertApiKey, listApiKeys, type NewApiKey, replaceApiKeyDigest, revokeApiKey } from "./api-keys.ts";
import { findApiKey } from "./find-api-key.ts";
import { createTenant, type TenantLimits, updateTenant } from "./tenants.ts";

const unknown = "018f0000-0000-7000-8000-000000000000";
let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;

beforeAll(async () => {
  opened = await openTestDatabase();
  ({ database, owner } = opened);
});
afterAll(() => opened.close());

const makeTenant = async (limits: TenantLimits = {}): Promise<string> =>
  (await createTenant(database, { name: "T", ...limits }, bySystem)).id;

function makeKey(tenantId: string, more: Partial<NewApiKey> = {}) {
  const digest = randomBytes(32);
  const key = { tenantId, name: "K", prefix: "sk-abcdefg", digest, scopes: ["inference"] as const, ...more };
  return insertApiKey(database, key, bySystem).then((row) => ({ ...row, digest }));
}

async function audited(target: string): Promise<string[]> {
  const { rows } = await owner.query("select action from audit_log where target_id = $1 order by id", [
    target,
  ]);
  return rows.map(({ action }) => action);
}

test("a key is found by its digest with everything that deciding about a request takes", async () => {
  const tenantId = await makeTenant({
    requests_per_minute: 10,
    tokens_per_minute: 20,
    monthly_token_budget: 30,
  });
  const expiresAt = new Date("2100-01-01T00:00:00Z");
  const key = await makeKey(tenantId, { scopes: ["inference", "admin"], expiresAt });
  expect(await findApiKey(database, [randomBytes(32), key.digest])).toEqual({
    tenantId,
    keyId: key.id,
    digest: key.digest.toString("hex"),
    scopes: ["inference", "admin"],
    expiresAt,
    revokedAt: null,
    tenantState: "active",
    requestsPerMinute: 10,
    tokensPerMinute: 20,
    monthlyTokenBudget: 30,
  });
  expect(await findApiKey(database, [randomBytes(32)])).toBeUndefined();
  expect(await findApiKey(database, [])).toBeUndefined();
});

test("a key's own limits come before its tenant's, and a suspended tenant shows", async () => {
  const tenantId = await makeTenant({ requests_per_minute: 10 });
  const { digest } = await makeKey(tenantId, { requestsPerMinute: 3, tokensPerMinute: 4 });
  await updateTenant(database, tenantId, { state: "suspended" }, bySystem);
  expect(await findApiKey(database, [digest])).toMatchObject({
    requestsPerMinute: 3,
    tokensPerMinute: 4,
    tenantState: "suspended",
  });
});

test("keys are listed in the order in which they were made, of one tenant, without their digests", async () => {
  const [tenantId, other] = [await makeTenant(), await makeTenant()];
  const keys = [await makeKey(tenantId), await makeKey(tenantId), await makeKey(tenantId)];
  await makeKey(other);
  const listed = await listApiKeys(database, tenantId);
  expect(listed.map(({ id }) => id)).toEqual(keys.map(({ id }) => id));
  expect(listed[0]).not.toHaveProperty("digest");
});

test("a key is revoked once, and the audit log says so once", async () => {
  const key = await makeKey(await makeTenant());
  const revoked = await Promise.all(
    [1, 2, 3].map(() => revokeApiKey(database, key.tenant_id, key.id, bySystem)),
  );
  expect(new Set(revoked.map(({ revoked_at }) => revoked_at?.getTime())).size).toBe(1);
  expect(await findApiKey(database, [key.digest])).toMatchObject({ revokedAt: revoked[0]?.revoked_at });
  expect(await audited(key.id)).toEqual(["api_key.created", "api_key.revoked"]);
});

test("another tenant's key is not_found, and so is a tenant that is not there", async () => {
  const key = await makeKey(await makeTenant());
  const notFound = { code: "not_found" };
  await expect(revokeApiKey(database, await makeTenant(), key.id, bySystem)).rejects.toMatchObject(notFound);
  await expect(revokeApiKey(database, key.tenant_id, unknown, bySystem)).rejects.toMatchObject(notFound);
  await expect(makeKey(unknown)).rejects.toMatchObject(notFound);
  expect(await findApiKey(database, [key.digest])).toMatchObject({ revokedAt: null });
});

test("the operator's scope is the platform's alone, and a key without scopes is none", async () => {
  await expect(makeKey(await makeTenant(), { scopes: ["operator"] })).rejects.toMatchObject({
    code: "23514",
  });
  await expect(makeKey(await makeTenant(), { scopes: [] })).rejects.toMatchObject({ code: "23514" });
  await expect(makeKey(platformTenantId, { scopes: ["inference"] })).rejects.toMatchObject({ code: "23514" });
  expect(await makeKey(platformTenantId, { scopes: ["operator"] })).toMatchObject({ scopes: ["operator"] });
});

test("a digest is replaced only while it is the one that was found", async () => {
  const key = await makeKey(await makeTenant());
  const found = await findApiKey(database, [key.digest]);
  if (found === undefined) throw new Error("not found");
  const [newest, late] = [randomBytes(32), randomBytes(32)];
  await replaceApiKeyDigest(database, found, newest);
  await replaceApiKeyDigest(database, found, late);
  expect(await findApiKey(database, [newest])).toMatchObject({ keyId: key.id });
  expect(await findApiKey(database, [key.digest, late])).toBeUndefined();
});

test("every change of a key or tenant that matters to a request is notified, a key's last use is not", async () => {
  const heard: string[] = [];
  const listener = database.listen({
    log: recordingLog().log,
    onGap: () => {},
    handlers: {
      ectus_key_changes: (id) => void heard.push(`key ${id}`),
      ectus_tenant_changes: (id) => void heard.push(`tenant ${id}`),
    },
  });
  await listener.ready;
  const tenantId = await makeTenant();
  const key = await makeKey(tenantId);
  await owner.query("update api_keys set last_used_at = now() where id = $1", [key.id]);
  await revokeApiKey(database, tenantId, key.id, bySystem);
  await updateTenant(database, tenantId, { name: "Other" }, bySystem);
  await owner.query("delete from api_keys where id = $1", [key.id]);
  await until(() => heard.length >= 4);
  await listener.close();
  expect(heard).toEqual([`key ${key.id}`, `key ${key.id}`, `tenant ${tenantId}`, `key ${key.id}`]);
});
