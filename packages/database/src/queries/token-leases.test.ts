import { randomUUIDv7 } from "node:crypto";
import type pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { findBookFaults, newUsage, readBudgets } from "../../../../tests/postgres/account-books.ts";
import { newTenant } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import { until } from "../../../../tests/postgres/until.ts";
import type { Database } from "../database.ts";
import { settle } from "./settle.ts";
import { leaseTokens, reclaimLeases, renewLeases, spentTokens } from "./token-leases.ts";

const month = `${new Date().toISOString().slice(0, 7)}-01`;
let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;

beforeAll(async () => {
  opened = await openTestDatabase();
  ({ database, owner } = opened);
});
afterEach(async () => {
  expect(await findBookFaults(owner)).toEqual([]);
});
afterAll(() => opened.close());

const lease = (tenantId: string, instanceId: string, need: number, more = {}) =>
  leaseTokens(database, {
    tenantId,
    month,
    instanceId,
    held: 0,
    need,
    block: need,
    ttlSeconds: 60,
    ...more,
  });

test("a lease is granted up to the budget, in small blocks near its end, and refused beyond", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const [a, b] = [randomUUIDv7(), randomUUIDv7()];
  expect(await lease(tenant.id, a, 1, { block: 10_000 })).toEqual({
    granted: 250,
    remaining: 1_000,
    kept: false,
  });
  expect(await lease(tenant.id, b, 700)).toEqual({ granted: 700, remaining: 750, kept: false });
  expect(await lease(tenant.id, a, 51, { held: 250 })).toEqual({ granted: 0, remaining: 50, kept: true });
  expect(await lease(tenant.id, a, 50, { held: 250 })).toEqual({ granted: 50, remaining: 50, kept: true });
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 0, leased: 1_000 }]);
});

test("what an instance's lease holds beyond what the instance knows goes back with its next lease", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const instanceId = randomUUIDv7();
  await lease(tenant.id, instanceId, 600);
  expect(await lease(tenant.id, instanceId, 900, { held: 100 })).toEqual({
    granted: 900,
    remaining: 900,
    kept: true,
  });
  expect(await lease(tenant.id, instanceId, 500, { held: 200 })).toEqual({
    granted: 500,
    remaining: 800,
    kept: true,
  });
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 0, leased: 700 }]);
  // Even when the lease itself is refused.
  await lease(tenant.id, instanceId, 5_000, { held: 10 });
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 0, leased: 10 }]);
});

test("a budget of 0 grants nothing, and none grants everything", async () => {
  const [none, unlimited] = [
    await newTenant(database, { monthly_token_budget: 0 }),
    await newTenant(database),
  ];
  expect(await lease(none.id, randomUUIDv7(), 1)).toMatchObject({ granted: 0, remaining: 0 });
  expect(await lease(unlimited.id, randomUUIDv7(), 5_000_000_000)).toMatchObject({ granted: 5_000_000_000 });
});

test("leases that expired are reclaimed, renewed ones are not, and an expired one cannot be renewed", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const [gone, alive] = [randomUUIDv7(), randomUUIDv7()];
  await lease(tenant.id, gone, 300, { ttlSeconds: -1 });
  await lease(tenant.id, alive, 200, { ttlSeconds: 1 });
  const renew = (instanceId: string) =>
    renewLeases(database, { tenantIds: [tenant.id], instanceId, ttlSeconds: 60 });
  expect(await renew(gone)).toEqual([]);
  expect(await renew(alive)).toEqual([{ tenantId: tenant.id, month }]);
  expect(await reclaimLeases(database)).toBe(300);
  expect(await reclaimLeases(database)).toBe(0);
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 0, leased: 200 }]);
  expect(await lease(tenant.id, gone, 1, { held: 300 })).toMatchObject({ kept: false });
});

test("a lease that is renewed while it is about to be reclaimed stays", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  await lease(tenant.id, randomUUIDv7(), 300, { ttlSeconds: -1 });
  await owner.query("begin");
  await owner.query("update token_leases set expires_at = now() + interval '1 minute' where tenant_id = $1", [
    tenant.id,
  ]);
  const reclaiming = reclaimLeases(database);
  const waiting = "select from pg_locks where not granted and transactionid = pg_current_xact_id()::xid";
  await until(async () => (await owner.query(waiting)).rowCount === 1);
  await owner.query("commit");
  expect(await reclaiming).toBe(0);
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 0, leased: 300 }]);
});

test("what an instance at work holds is not reclaimed, though it has expired", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const instanceId = randomUUIDv7();
  await lease(tenant.id, instanceId, 300, { ttlSeconds: -1 });
  await owner.query("begin");
  await owner.query("select lock_instance($1)", [instanceId]);
  expect(await reclaimLeases(database)).toBe(0);
  await owner.query("commit");
  expect(await reclaimLeases(database)).toBe(300);
});

test("what is spent of a month is its settled usage, without what is leased", async () => {
  const tenant = await newTenant(database);
  expect(await spentTokens(database, tenant.id, month)).toBe(0);
  const instanceId = randomUUIDv7();
  await lease(tenant.id, instanceId, 100);
  await settle(database, instanceId, [
    { usage: newUsage(tenant, { charged_tokens: 30 }), leasedTokens: 20, touchKey: false },
  ]);
  expect(await spentTokens(database, tenant.id, month)).toBe(30);
});
