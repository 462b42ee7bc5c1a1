import { randomUUIDv7 } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  createTenant,
  type Database,
  openDatabase,
  reclaimLeases,
  settle,
  updateTenant,
} from "@ectus/database";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { findBookFaults, newUsage, readBudgets } from "../../../../tests/postgres/account-books.ts";
import { type Connection, connectTo } from "../../../../tests/postgres/connect.ts";
import { bySystem, newTenant, type TestTenant } from "../../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { createSettlements, type Settlements } from "../settlements.ts";
import { createTokenBudgets, monthOf, type TokenBudgets, type TokenBudgetsOptions } from "./token-budgets.ts";

const { log, lines } = recordingLog("web-api");
const now = new Date();
const month = monthOf(now);
let testDatabase: TestDatabase;
let database: Database;
let owner: Connection;
const undo: (() => Promise<void>)[] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase({ url: testDatabase.appUrl, poolSize: 4, log });
  owner = await connectTo(testDatabase.ownerUrl);
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
  expect(await findBookFaults(owner)).toEqual([]);
});
afterAll(async () => {
  await owner.end();
  await database.close();
  await testDatabase.drop();
});

function start(options: Partial<TokenBudgetsOptions> = {}): TokenBudgets {
  const budgets = createTokenBudgets({ database, instanceId: randomUUIDv7(), log, ...options });
  undo.push(() => budgets.close());
  return budgets;
}

const tenantWith = (monthly_token_budget: number | null): Promise<TestTenant> =>
  newTenant(database, { monthly_token_budget });

/** One request from reservation to settlement. */
async function spend(
  budgets: TokenBudgets,
  instanceId: string,
  tenant: TestTenant,
  reserved: number,
  charged: number,
): Promise<void> {
  const reservation = await budgets.reserve(tenant.caller, reserved, now);
  await settle(database, instanceId, [
    {
      usage: newUsage(tenant, { charged_tokens: charged, created_at: now.toISOString() }),
      leasedTokens: reservation.fromLease(charged),
      touchKey: false,
    },
  ]);
  reservation.end(charged);
}

const budgetOf = async ({ id }: TestTenant) => (await readBudgets(owner, id))[0];

test("a month is named by its first day in UTC", () => {
  expect(monthOf(new Date("2026-11-30T23:59:59.999Z"))).toBe("2026-11-01");
  expect(monthOf(new Date("2026-12-01T00:00:00.000Z"))).toBe("2026-12-01");
});

test("without a budget nothing is reserved", async () => {
  const tenant = await tenantWith(null);
  const reservation = await start().reserve(tenant.caller, 1e12, now);
  expect(reservation.fromLease(5)).toBe(0);
  reservation.end(5);
  expect(await budgetOf(tenant)).toBeUndefined();
});

test("a budget of 0 and a request larger than what is left are refused, with what is left", async () => {
  const [none, some] = [await tenantWith(0), await tenantWith(100)];
  await expect(start().reserve(none.caller, 1, now)).rejects.toMatchObject({
    code: "insufficient_quota",
    details: { remaining: 0, needed: 1 },
  });
  const budgets = start();
  await budgets.reserve(some.caller, 60, now);
  await expect(budgets.reserve(some.caller, 41, now)).rejects.toMatchObject({
    details: { remaining: 40, needed: 41 },
  });
  await budgets.reserve(some.caller, 40, now);
});

test("a tenant that is refused over and over does not ask the database each time", async () => {
  const tenant = await tenantWith(10);
  let asked = 0;
  const run: Database["run"] = (query) => {
    asked++;
    return database.run(query);
  };
  const budgets = start({ database: { ...database, run } });
  const results = await Promise.allSettled(
    Array.from({ length: 200 }, () => budgets.reserve(tenant.caller, 100, now)),
  );
  expect(results.every(({ status }) => status === "rejected")).toBe(true);
  expect(asked).toBe(1);
  // But asks for what may still be there.
  await budgets.reserve(tenant.caller, 10, now);
});

test("when the database cannot be reached all who wait are told so at once", async () => {
  const tenant = await tenantWith(1_000);
  let asked = 0;
  const run: Database["run"] = async () => {
    asked++;
    await delay(5);
    throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  };
  const budgets = start({ database: { ...database, run } });
  const results = await Promise.allSettled(
    Array.from({ length: 50 }, () => budgets.reserve(tenant.caller, 100, now)),
  );
  expect(results.every(({ status }) => status === "rejected")).toBe(true);
  expect(asked).toBe(1);
});

test("a charge beyond the reservation is recorded, and the lease stays right", async () => {
  const tenant = await tenantWith(10_000);
  const instanceId = randomUUIDv7();
  const budgets = start({ instanceId });
  await spend(budgets, instanceId, tenant, 100, 5_000);
  expect(await budgetOf(tenant)).toMatchObject({ spent: 5_000 });
  await budgets.release(tenant.id);
  expect(await budgetOf(tenant)).toEqual({ month, spent: 5_000, leased: 0 });
  await expect(budgets.reserve(tenant.caller, 5_001, now)).rejects.toMatchObject({
    details: { remaining: 5_000 },
  });
});

test("a reservation one millisecond before the month's end belongs to that month, one at its end to the next", async () => {
  const tenant = await tenantWith(100);
  const budgets = start();
  await budgets.reserve(tenant.caller, 100, new Date("2026-11-30T23:59:59.999Z"));
  await expect(budgets.reserve(tenant.caller, 1, new Date("2026-11-30T23:59:59.999Z"))).rejects.toThrow();
  await budgets.reserve(tenant.caller, 100, new Date("2026-12-01T00:00:00.000Z"));
  expect(await readBudgets(owner, tenant.id)).toEqual([
    { month: "2026-11-01", spent: 0, leased: 100 },
    { month: "2026-12-01", spent: 0, leased: 100 },
  ]);
});

test("leases are returned when they are idle, when a block lasts too long, and at close", async () => {
  const tenant = await tenantWith(1_000_000);
  const instanceId = randomUUIDv7();
  const budgets = createTokenBudgets({ database, instanceId, log, idleMs: 50 });
  await spend(budgets, instanceId, tenant, 10, 7);
  expect((await budgetOf(tenant))?.leased).toBeGreaterThan(1_000);
  await until(async () => (await budgetOf(tenant))?.leased === 0);
  // A stream that runs on holds what it reserved and no more.
  const open = await budgets.reserve(tenant.caller, 500, now);
  await until(async () => (await budgetOf(tenant))?.leased === 500);
  open.end(0);
  await budgets.close();
  expect(await budgetOf(tenant)).toEqual({ month, spent: 7, leased: 0 });
  await expect(budgets.reserve(tenant.caller, 1, now)).rejects.toMatchObject({ code: "shutting_down" });
});

test("a lease in use is renewed, one of an instance that is gone is reclaimed after its time", async () => {
  const tenant = await tenantWith(1_000);
  const alive = start({ ttlSeconds: 2 });
  await alive.reserve(tenant.caller, 300, now);
  // Gone: nothing renews it. The timer of a killed process does not run either.
  const database2 = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log });
  const gone = createTokenBudgets({ database: database2, instanceId: randomUUIDv7(), log, ttlSeconds: 2 });
  await gone.reserve(tenant.caller, 200, now);
  await database2.close();
  await until(async () => (await reclaimLeases(database)) > 0);
  expect(
    (await owner.query("select tokens::int from token_leases where tenant_id = $1", [tenant.id])).rows,
  ).toHaveLength(1);
  expect((await budgetOf(tenant))?.leased).toBeLessThanOrEqual(800);
  await alive.reserve(tenant.caller, 500, now);
  await gone.close();
  expect(lines.some(({ msg }) => String(msg).includes("could not be given back"))).toBe(true);
});

test("an instance whose lease was lost does not spend it a second time", async () => {
  const tenant = await tenantWith(1_000);
  const [slept, other] = [start(), start()];
  const open = await slept.reserve(tenant.caller, 600, now);
  await owner.query("update token_leases set expires_at = now() - interval '1 s' where tenant_id = $1", [
    tenant.id,
  ]);
  await reclaimLeases(database);
  await other.reserve(tenant.caller, 900, now);
  await expect(slept.reserve(tenant.caller, 500, now)).rejects.toMatchObject({ details: { remaining: 100 } });
  // The old reservation is not paid for by a lease of later.
  expect(open.fromLease(600)).toBe(0);
  open.end(600);
  await slept.reserve(tenant.caller, 100, now);
  await expect(slept.reserve(tenant.caller, 1, now)).rejects.toThrow();
});

test("an instance that could not renew for a lease's time asks anew instead of spending it", async () => {
  const tenant = await tenantWith(1_000);
  let cut = false;
  const run: Database["run"] = (query) => {
    if (cut && query.operation === "renew_leases") return Promise.reject(new Error("cut off"));
    return database.run(query);
  };
  const budgets = start({ database: { ...database, run }, ttlSeconds: 0.3, idleMs: 60_000 });
  const first = await budgets.reserve(tenant.caller, 100, now);
  cut = true;
  await until(() => first.fromLease(100) === 0);
  expect(lines.some(({ msg }) => msg === "token leases could not be renewed")).toBe(true);
  // By its own clock it is over a little before the database thinks so.
  await until(async () => (await reclaimLeases(database)) > 0);
  await start().reserve(tenant.caller, 1_000, now);
  await expect(budgets.reserve(tenant.caller, 1, now)).rejects.toMatchObject({ code: "insufficient_quota" });
});

test("a budget can be lowered, raised, removed and set again while it is in use", async () => {
  const tenant = await tenantWith(100_000);
  const instanceId = randomUUIDv7();
  const budgets = start({ instanceId });
  const change = async (monthly_token_budget: number | null): Promise<void> => {
    await updateTenant(database, tenant.id, { monthly_token_budget }, bySystem);
    await budgets.release(tenant.id);
  };
  await spend(budgets, instanceId, tenant, 1_000, 1_000);
  const open = await budgets.reserve(tenant.caller, 1_000, now);
  await change(1_500);
  await expect(budgets.reserve(tenant.caller, 1, now)).rejects.toMatchObject({ details: { remaining: 0 } });
  await change(3_000);
  await budgets.reserve(tenant.caller, 1_000, now);
  await change(null);
  const unlimited = { ...tenant, caller: { ...tenant.caller, monthlyTokenBudget: null } };
  await spend(budgets, instanceId, unlimited, 50_000, 50_000);
  // A request without a reservation takes nothing from the leases of those with one.
  expect(await budgetOf(tenant)).toEqual({ month, spent: 51_000, leased: 2_000 });
  await change(60_000);
  await expect(budgets.reserve(tenant.caller, 7_001, now)).rejects.toMatchObject({
    details: { remaining: 7_000 },
  });
  open.end(0);
  await budgets.reserve(tenant.caller, 8_000, now);
});

test("a settlement that was lost does not keep its tokens leased", async () => {
  const tenant = await tenantWith(1_000);
  const budgets = start();
  const reservation = await budgets.reserve(tenant.caller, 400, now);
  reservation.end(400);
  expect((await budgetOf(tenant))?.leased).toBe(400);
  await budgets.reserve(tenant.caller, 1_000, now);
  expect(await budgetOf(tenant)).toEqual({ month, spent: 0, leased: 1_000 });
});

test("many requests on several replicas never pass the budget, and in the end nearly all of it can be used", async () => {
  const budget = 300_000;
  const tenant = await tenantWith(budget);
  const replicas = Array.from({ length: 4 }, () => {
    const own = openDatabase({ url: testDatabase.appUrl, poolSize: 3, log });
    const settlements: Settlements = createSettlements({ database: own, log });
    const budgets = createTokenBudgets({
      database: own,
      instanceId: settlements.instanceId,
      log,
      idleMs: 200,
    });
    return { own, settlements, budgets };
  });
  const largest = 400;
  let sampled = 0;
  let most = 0;
  let done = false;
  const sampling = (async () => {
    while (!done) {
      const row = await budgetOf(tenant);
      sampled++;
      most = Math.max(most, (row?.spent ?? 0) + (row?.leased ?? 0));
    }
  })();
  // Each client goes on until it has been refused for longer than a block is held.
  const clients = replicas.flatMap(({ settlements, budgets }) =>
    Array.from({ length: 16 }, async () => {
      let refusedSince: number | undefined;
      while (refusedSince === undefined || performance.now() - refusedSince < 1_500) {
        const tokens = 1 + Math.floor(Math.random() * largest);
        try {
          const reservation = await budgets.reserve(tenant.caller, tokens, now);
          settlements.begin();
          if (Math.random() < 0.1) {
            settlements.drop();
            reservation.end(0);
            continue;
          }
          const charged = Math.ceil(Math.random() * tokens);
          await settlements.settle({
            usage: newUsage(tenant, { charged_tokens: charged, created_at: now.toISOString() }),
            leasedTokens: reservation.fromLease(charged),
          });
          reservation.end(charged);
          refusedSince = undefined;
        } catch (error) {
          expect(error).toMatchObject({ code: "insufficient_quota" });
          refusedSince ??= performance.now();
          await delay(20);
        }
      }
    }),
  );
  await Promise.all(clients);
  done = true;
  await sampling;
  for (const { own, settlements, budgets } of replicas) {
    await settlements.close();
    await budgets.close();
    await own.close();
  }
  const end = await budgetOf(tenant);
  expect(sampled).toBeGreaterThan(20);
  expect(most).toBeLessThanOrEqual(budget);
  expect(end?.leased).toBe(0);
  // What is left is less than the largest request: nothing is stranded.
  expect(budget - (end?.spent ?? 0)).toBeGreaterThanOrEqual(0);
  expect(budget - (end?.spent ?? 0)).toBeLessThan(largest);
}, 60_000);

test("tenants do not share a lease", async () => {
  const [one, other] = [await tenantWith(100), await createTenant(database, { name: "X" }, bySystem)];
  const budgets = start();
  await budgets.reserve(one.caller, 100, now);
  await expect(
    budgets.reserve({ ...one.caller, tenantId: other.id, monthlyTokenBudget: 5 }, 5, now),
  ).resolves.toBeDefined();
});
