import { randomUUIDv7 } from "node:crypto";
import type pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { findBookFaults, newUsage, readBudgets } from "../../../../tests/postgres/account-books.ts";
import { bySystem, newTenant, type TestTenant } from "../../../../tests/postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import type { Database, Query } from "../database.ts";
import { deleteCompletion, getCompletion } from "./completions.ts";
import { type Settlement, settle } from "./settle.ts";
import { leaseTokens, reclaimLeases, renewLeases, returnTokens } from "./token-leases.ts";

const month = `${new Date().toISOString().slice(0, 7)}-01`;
let opened: OpenTestDatabase;
let database: Database;
let owner: pg.Client;

beforeAll(async () => {
  opened = await openTestDatabase(16);
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

const charge = (tenant: TestTenant, charged: number, leasedTokens: number, of = month): Settlement => ({
  usage: newUsage(tenant, { created_at: `${of.slice(0, 7)}-01T00:00:00.000Z`, charged_tokens: charged }),
  leasedTokens,
  touchKey: false,
});

test("a charge beyond the lease is recorded, and takes from the lease what is there", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 100 });
  const instanceId = randomUUIDv7();
  await lease(tenant.id, instanceId, 100);
  await settle(database, instanceId, [charge(tenant, 250, 250)]);
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 250, leased: 0 }]);
  expect(await lease(tenant.id, instanceId, 1)).toMatchObject({ granted: 0, remaining: -150, kept: true });
});

test("a charge on a lease that was reclaimed is the budget's, and so is one on a lease that never was", async () => {
  const [reclaimed, never] = [await newTenant(database), await newTenant(database)];
  const instanceId = randomUUIDv7();
  await lease(reclaimed.id, instanceId, 100, { ttlSeconds: -1 });
  expect(await reclaimLeases(database)).toBe(100);
  await settle(database, instanceId, [charge(reclaimed, 30, 30), charge(never, 8, 8)]);
  expect(await readBudgets(owner, reclaimed.id)).toEqual([{ month, spent: 30, leased: 0 }]);
  expect(await readBudgets(owner, never.id)).toEqual([{ month, spent: 8, leased: 0 }]);
});

test("another instance's lease pays for nothing", async () => {
  const tenant = await newTenant(database);
  const [mine, theirs] = [randomUUIDv7(), randomUUIDv7()];
  await lease(tenant.id, theirs, 100);
  await settle(database, mine, [charge(tenant, 30, 30)]);
  expect(await readBudgets(owner, tenant.id)).toEqual([{ month, spent: 30, leased: 100 }]);
});

test("one batch charges leases that suffice, are too small and are gone, of two months, and what nobody leased", async () => {
  const [rich, poor, gone, free] = await Promise.all([1, 2, 3, 4].map(() => newTenant(database)));
  if (!(rich && poor && gone && free)) throw new Error("no tenants");
  const instanceId = randomUUIDv7();
  const [january, february] = ["2026-01-01", "2026-02-01"];
  for (const of of [january, february]) await lease(rich.id, instanceId, 100, { month: of });
  await lease(poor.id, instanceId, 10, { month: january });
  await lease(poor.id, instanceId, 100, { month: february });
  await settle(database, instanceId, [
    // A part of the second charge was not leased.
    charge(rich, 40, 40, january),
    charge(rich, 25, 20, january),
    charge(rich, 7, 7, february),
    charge(poor, 6, 6, january),
    charge(poor, 9, 8, january),
    charge(poor, 100, 100, february),
    charge(gone, 5, 3, january),
    charge(gone, 2, 2, february),
    charge(free, 11, 0, february),
  ]);
  expect(await Promise.all([rich, poor, gone, free].map(({ id }) => readBudgets(owner, id)))).toEqual([
    [
      { month: january, spent: 65, leased: 40 },
      { month: february, spent: 7, leased: 93 },
    ],
    [
      { month: january, spent: 15, leased: 0 },
      { month: february, spent: 100, leased: 0 },
    ],
    [
      { month: january, spent: 5, leased: 0 },
      { month: february, spent: 2, leased: 0 },
    ],
    [{ month: february, spent: 11, leased: 0 }],
  ]);
});

test("nothing of a tenant out of scope is written, in whatever part of a settlement it stands", async () => {
  const [mine, theirs] = [await newTenant(database), await newTenant(database)];
  const instanceId = randomUUIDv7();
  await lease(theirs.id, instanceId, 100);
  const id = randomUUIDv7();
  const created_at = new Date().toISOString();
  const row = { id, created_at, model: "m", metadata: {}, end_user: null, request: {}, response: {} };
  const message = {
    completion_id: id,
    position: 0,
    direction: "input" as const,
    role: "user",
    body: {},
    finish_reason: null,
    logprobs: null,
  };
  const stored = (of: TestTenant, messagesOf: TestTenant): Settlement => ({
    ...charge(mine, 1, 0),
    completion: {
      row: { ...row, tenant_id: of.id, nul_replaced: false },
      messages: [{ ...message, tenant_id: messagesOf.id }],
    },
  });
  // As settle sends it, but with one tenant in scope whatever is in it.
  const scoped: Database = {
    ...database,
    run: (query) => database.run({ ...query, values: [`{${mine.id}}`, ...query.values.slice(1)] }),
  };
  for (const batch of [
    [stored(theirs, mine)],
    [stored(mine, theirs)],
    [charge(theirs, 1, 0)],
    [charge(theirs, 1, 1)],
    [charge(mine, 1, 0), charge(theirs, 0, 0)],
  ])
    await expect(settle(scoped, instanceId, batch)).rejects.toThrow("row-level security");
  const chargeOnly = (query: Query): Query => {
    const [tenants, instance, requests, , , more] = query.values;
    const tokens = `{"(${theirs.id},${month},5)"}`;
    return { ...query, values: [tenants, instance, requests, tokens, "{}", more] };
  };
  const charging: Database = { ...database, run: (query) => database.run(chargeOnly(query)) };
  await expect(settle(charging, instanceId, [charge(mine, 5, 0)])).rejects.toThrow("row-level security");
  expect(await readBudgets(owner, mine.id)).toEqual([]);
  expect(await readBudgets(owner, theirs.id)).toEqual([{ month, spent: 0, leased: 100 }]);
  expect((await owner.query("select from completions where id = $1", [id])).rowCount).toBe(0);

  const touch: Database = {
    ...database,
    run: (query) => {
      const more = JSON.stringify({ keys: [{ tenant_id: theirs.id, id: theirs.caller.keyId }] });
      return database.run({ ...query, values: [...query.values.slice(0, 5), more] });
    },
  };
  await settle(touch, instanceId, [charge(mine, 5, 0)]);
  const used = "select last_used_at from api_keys where id = $1";
  expect((await owner.query(used, [theirs.caller.keyId])).rows).toEqual([{ last_used_at: null }]);
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
          usage: newUsage(tenant, { created_at: `${of}T12:00:00Z`, charged_tokens: 300 }),
          leasedTokens: pick([0, 2, 300]),
          touchKey: true,
        })),
      ),
    );
  const workers = Array.from({ length: 16 }, async (_, worker) => {
    for (let round = 0; round < 40; round++) await (worker % 2 === 0 ? settleSome() : pick(steps)());
  });
  await Promise.all(workers);
});
