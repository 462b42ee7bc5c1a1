import { currentContext } from "@ectus/core";
import { type Database, openDatabase } from "@ectus/database";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { drawTree, inTrace } from "../../../tests/monitoring/in-trace.ts";
import { type RecordedTraces, recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { keySecret, newTenant, type TestTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { createKeyCache } from "./key-cache.ts";
import { createRateLimits } from "./limits/rate-limits.ts";
import { createTokenBudgets } from "./limits/token-budgets.ts";

const { log } = recordingLog("web-api");
let testDatabase: TestDatabase;
let database: Database;
let tenant: TestTenant;
let traces: RecordedTraces;
/** What the database was asked, and in the context of which request. */
const asked: [operation: string, by: string | undefined][] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  const opened = openDatabase({ url: testDatabase.appUrl, poolSize: 4, log });
  database = {
    ...opened,
    run(query) {
      asked.push([query.operation, currentContext()?.correlationId]);
      return opened.run(query);
    },
  };
  const limits = { requestsPerMinute: 1_000, tokensPerMinute: 1_000_000 };
  tenant = await newTenant(database, { monthly_token_budget: 1_000_000 }, limits);
});
beforeEach(() => {
  traces = recordTraces();
});
afterAll(async () => {
  await database.close();
  await testDatabase.drop();
});

/** The trees of two requests that do the same at the same time. */
async function treesOfTwo(work: () => Promise<unknown>): Promise<readonly string[]> {
  await Promise.all([inTrace(traces, work, "first"), inTrace(traces, work, "second")]);
  return drawTree((await traces.spans()).filter(({ name }) => name !== "pool.wait"));
}

const askedBy = (operation: string) => asked.filter(([one, by]) => one === operation && by !== undefined);

test("of requests with one key one looks it up, and the other's trace shows that it waited", async () => {
  const cache = createKeyCache({ database, secrets: [keySecret], log });
  const trees = await treesOfTwo(() => cache.find(tenant.key));
  expect(trees.toSorted()).toEqual(
    ["request", "  find_api_key api_keys", "request", "  wait find_api_key"].toSorted(),
  );
  expect(askedBy("find_api_key")).toEqual([["find_api_key", "first"]]);
  await cache.close();
});

test("of requests that need a block of the minute one leases it, and the other's trace shows that it waited", async () => {
  const rates = createRateLimits(database);
  const trees = await treesOfTwo(() => rates.take(tenant.caller, 1));
  expect(trees.toSorted()).toEqual(
    ["request", "  lease_rate rate_windows", "request", "  wait lease_rate"].toSorted(),
  );
  expect(askedBy("lease_rate")).toEqual([["lease_rate", "first"]]);
});

test("of requests that need a part of the budget one leases it, and the other's trace shows that it waited", async () => {
  const budgets = createTokenBudgets({ database, instanceId: tenant.id, log });
  const trees = await treesOfTwo(async () => {
    const reservation = await budgets.reserve(tenant.caller, 10, new Date());
    reservation.end(0);
  });
  expect(trees.toSorted()).toEqual(
    ["request", "  lease_tokens token_leases", "request", "  wait token_lease"].toSorted(),
  );
  expect(askedBy("lease_tokens")).toEqual([["lease_tokens", "first"]]);
  await inTrace(traces, () => budgets.close());
});

test("who waits for what fails, fails with it", async () => {
  const broken = { ...database, run: () => Promise.reject(new Error("no database")) };
  const rates = createRateLimits(broken);
  await expect(treesOfTwo(() => rates.take(tenant.caller, 1))).rejects.toThrow("no database");
});
