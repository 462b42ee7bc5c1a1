import type { ModelInfo } from "@ectus/ai-engine";
import { type Database, openDatabase } from "@ectus/database";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { findBookFaults, readBudgets } from "../../../tests/postgres/account-books.ts";
import { type Connection, connectTo } from "../../../tests/postgres/connect.ts";
import { newTenant, type TestTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { createAccounting } from "./accounting.ts";
import { createRateLimits } from "./limits/rate-limits.ts";
import { createTokenBudgets } from "./limits/token-budgets.ts";
import { createSettlements } from "./settlements.ts";

const { log } = recordingLog("web-api");
const model = {
  id: "test-model",
  price: { inputPerMillionUsd: 1, outputPerMillionUsd: 2 },
} as unknown as ModelInfo;
const answeredBy = { provider: "test-provider", providerModel: "test-model" };
const usage = { inputTokens: 30, outputTokens: 10, cachedTokens: 0, reasoningTokens: 0 };
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
  for (const step of undo.splice(0)) await step();
  expect(await findBookFaults(owner)).toEqual([]);
});
afterAll(async () => {
  await owner.end();
  await database.close();
  await testDatabase.drop();
});

function start(now: Date, through: Database = database) {
  const settlements = createSettlements({ database: through, log, retryForMs: 100 });
  const budgets = createTokenBudgets({ database: through, instanceId: settlements.instanceId, log });
  const rates = createRateLimits(database, () => now.getTime());
  undo.push(async () => {
    await settlements.close();
    await budgets.close();
  });
  const open = createAccounting({ rates, budgets, settlements, now: () => now });
  return (of: TestTenant, tokens: number) =>
    open({ caller: of.caller, requestId: "req-1", operation: "chat", model, tokens, streamed: true });
}

const usageOf = async ({ id }: TestTenant) =>
  (await owner.query("select * from usage where tenant_id = $1", [id])).rows;

test("a request that is settled leaves one usage row and pays from what it reserved", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000, tokens_per_minute: 600 });
  const open = start(new Date());
  const account = await open(tenant, 500);
  await account.settle({ answeredBy, outcome: "completed", usage });
  expect(await usageOf(tenant)).toMatchObject([
    {
      api_key_id: tenant.caller.keyId,
      request_id: "req-1",
      model: "test-model",
      provider: "test-provider",
      outcome: "completed",
      streamed: true,
      input_tokens: 30,
      output_tokens: 10,
      charged_tokens: "40",
      cost_usd: "0.000050000000",
    },
  ]);
  expect((await readBudgets(owner, tenant.id))[0]).toMatchObject({ spent: 40, leased: 460 });
  // What it did not use is free again: of the minute 560 tokens, of the month 960.
  const second = await open(tenant, 560);
  second.drop();
  expect((await readBudgets(owner, tenant.id))[0]).toMatchObject({ spent: 40 });
});

test("where the provider does not say what was used, the reservation is charged and the row says unknown", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const account = await start(new Date())(tenant, 500);
  await account.settle({ answeredBy, outcome: "interrupted", usage: null });
  expect(await usageOf(tenant)).toMatchObject([
    {
      input_tokens: null,
      output_tokens: null,
      charged_tokens: "500",
      cost_usd: null,
      outcome: "interrupted",
    },
  ]);
});

test("a request that begins one millisecond before the month's end is settled in that month", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 1_000 });
  const account = await start(new Date("2026-03-31T23:59:59.999Z"))(tenant, 100);
  await account.settle({ answeredBy, outcome: "completed", usage });
  const [row] = await readBudgets(owner, tenant.id);
  expect(row).toMatchObject({ month: "2026-03-01", spent: 40 });
});

test("what is dropped costs nothing", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 100, tokens_per_minute: 100 });
  const open = start(new Date());
  for (let i = 0; i < 5; i++) (await open(tenant, 100)).drop();
  expect(await usageOf(tenant)).toEqual([]);
});

test("who is refused by the budget gets the minute's tokens back", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 50, tokens_per_minute: 100 });
  const open = start(new Date());
  await expect(open(tenant, 100)).rejects.toMatchObject({ code: "insufficient_quota" });
  (await open(tenant, 50)).drop();
  await expect(open(tenant, 101)).rejects.toMatchObject({ code: "rate_limit_exceeded" });
});

test("a settlement that fails is an error for the request, and does not hold tokens for ever", async () => {
  const tenant = await newTenant(database, { monthly_token_budget: 100 });
  const run: Database["run"] = (query) =>
    query.operation === "settle" ? Promise.reject(new Error("refused")) : database.run(query);
  const open = start(new Date(), { ...database, run });
  const account = await open(tenant, 100);
  await expect(account.settle({ answeredBy, outcome: "completed", usage })).rejects.toThrow("refused");
  (await open(tenant, 100)).drop();
});
