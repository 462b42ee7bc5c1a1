import { randomUUIDv7 } from "node:crypto";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { findBookFaults, newUsage, readBudgets } from "../../../../tests/postgres/account-books.ts";
import { bySystem, newTenant } from "../../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { type Database, openDatabase } from "../database.ts";
import { deleteCompletion, getCompletion } from "./completions.ts";
import { type Settlement, settle } from "./settle.ts";
import { leaseTokens, reclaimLeases, renewLeases, returnTokens } from "./token-leases.ts";

const month = `${new Date().toISOString().slice(0, 7)}-01`;
let testDatabase: TestDatabase;
let database: Database;
let owner: pg.Client;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase({ url: testDatabase.appUrl, poolSize: 16, log: recordingLog().log });
  owner = new pg.Client({ connectionString: testDatabase.ownerUrl });
  await owner.connect();
});
afterEach(async () => {
  expect(await findBookFaults(owner)).toEqual([]);
});
afterAll(async () => {
  await owner.end();
  await database.close();
  await testDatabase.drop();
});

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

test("a batch writes usage, budget, lease, completion and last use together, and again changes nothing", async () => {
  const [one, other] = [
    await newTenant(database, { monthly_token_budget: 1_000 }),
    await newTenant(database),
  ];
  const instanceId = randomUUIDv7();
  await lease(one.id, instanceId, 100);
  const usage = newUsage(one, { charged_tokens: 30 });
  const { id } = usage;
  const completion = {
    row: {
      tenant_id: one.id,
      id,
      created_at: usage.created_at,
      model: "m",
      metadata: {},
      end_user: "someone",
      request: {},
      response: {},
      nul_replaced: false,
    },
    messages: [
      {
        tenant_id: one.id,
        completion_id: id,
        position: 0,
        direction: "input" as const,
        role: "user",
        body: { content: "hello" },
        finish_reason: null,
        logprobs: null,
      },
    ],
  };
  const batch: Settlement[] = [
    { usage, leasedTokens: 30, completion, touchKey: true },
    { usage: newUsage(one, { charged_tokens: 5 }), leasedTokens: 5, touchKey: false },
    { usage: newUsage(other, { charged_tokens: 7 }), touchKey: false },
  ];
  const state = async () => ({
    budgets: [await readBudgets(owner, one.id), await readBudgets(owner, other.id)],
    usage: (await owner.query("select count(*)::int as n from usage")).rows[0].n,
    used: (await owner.query("select id from api_keys where last_used_at is not null")).rows,
    messages: (await owner.query("select count(*)::int as n from messages")).rows[0].n,
  });
  await settle(database, instanceId, batch);
  const first = await state();
  expect(first).toEqual({
    budgets: [[{ month, spent: 35, leased: 65 }], [{ month, spent: 7, leased: 0 }]],
    usage: 3,
    used: [{ id: one.caller.keyId }],
    messages: 1,
  });
  await settle(database, instanceId, batch);
  expect(await state()).toEqual(first);
  await returnTokens(database, { tenantId: one.id, month, instanceId, keep: 0 });
  // What was deleted in between stays deleted.
  await deleteCompletion(database, one.id, id, bySystem);
  await settle(database, instanceId, batch);
  await expect(getCompletion(database, one.id, id)).rejects.toMatchObject({ code: "not_found" });
});

test("the same batch sent many times at once is written once", async () => {
  const tenants = await Promise.all([1, 2, 3].map(() => newTenant(database)));
  const batch = tenants.map((tenant) => ({ usage: newUsage(tenant), touchKey: true }));
  await Promise.all(Array.from({ length: 12 }, () => settle(database, randomUUIDv7(), batch)));
  for (const { id } of tenants)
    expect(await readBudgets(owner, id)).toEqual([{ month, spent: 2, leased: 0 }]);
});

test("a batch with a row that the database refuses writes nothing at all", async () => {
  const tenant = await newTenant(database);
  const good = { usage: newUsage(tenant), touchKey: false };
  const bad = { usage: newUsage(tenant, { duration_ms: 1e12 }), touchKey: false };
  await expect(settle(database, randomUUIDv7(), [good, bad])).rejects.toMatchObject({ code: "22003" });
  expect(await readBudgets(owner, tenant.id)).toEqual([]);
});

test("the month of a settlement is that of its beginning, in UTC", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const instanceId = randomUUIDv7();
  for (const of of ["2026-01-01", "2026-02-01"]) await lease(tenant.id, instanceId, 100, { month: of });
  await settle(database, instanceId, [
    {
      usage: newUsage(tenant, { created_at: "2026-01-31T23:59:59.999Z", charged_tokens: 10 }),
      leasedTokens: 10,
      touchKey: false,
    },
    {
      usage: newUsage(tenant, { created_at: "2026-02-01T00:00:00.000Z", charged_tokens: 20 }),
      leasedTokens: 20,
      touchKey: false,
    },
  ]);
  expect(await readBudgets(owner, tenant.id)).toEqual([
    { month: "2026-01-01", spent: 10, leased: 90 },
    { month: "2026-02-01", spent: 20, leased: 80 },
  ]);
});

test("a charge beyond the lease is recorded, and takes from the lease what is there", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 100 });
  const instanceId = randomUUIDv7();
  await lease(tenant.id, instanceId, 100);
  await settle(database, instanceId, [
    { usage: newUsage(tenant, { charged_tokens: 250 }), leasedTokens: 250, touchKey: false },
  ]);
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 250, leased: 0 }]);
  expect(await lease(tenant.id, instanceId, 1)).toMatchObject({ granted: 0, remaining: -150, kept: true });
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

test("leasing, settling, returning, renewing and reclaiming at the same time never deadlocks", async () => {
  const tenants = await Promise.all(
    Array.from({ length: 6 }, () => newTenant(database, { monthly_token_budget: 1_000_000_000 })),
  );
  const instances = Array.from({ length: 3 }, () => randomUUIDv7());
  const months = ["2026-01-01", "2026-02-01"];
  const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)] as T;
  const shuffled = () => tenants.toSorted(() => Math.random() - 0.5);
  const steps: (() => Promise<unknown>)[] = [
    () => lease(pick(tenants).id, pick(instances), 100, { month: pick(months), held: 500 }),
    () =>
      returnTokens(database, {
        tenantId: pick(tenants).id,
        month: pick(months),
        instanceId: pick(instances),
        keep: 50,
      }),
    () =>
      renewLeases(database, {
        tenantIds: shuffled().map(({ id }) => id),
        instanceId: pick(instances),
        ttlSeconds: pick([-1, 60]),
      }),
    () => reclaimLeases(database),
  ];
  const settleSome = () =>
    settle(
      database,
      pick(instances),
      shuffled().flatMap((tenant) =>
        months.map((of) => ({
          usage: newUsage(tenant, { created_at: `${of}T12:00:00Z`, charged_tokens: 3 }),
          leasedTokens: 3,
          touchKey: true,
        })),
      ),
    );
  const workers = Array.from({ length: 16 }, async (_, worker) => {
    for (let round = 0; round < 40; round++) await (worker % 2 === 0 ? settleSome() : pick(steps)());
  });
  await Promise.all(workers);
});
