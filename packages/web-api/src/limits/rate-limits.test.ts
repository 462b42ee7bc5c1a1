import { type Database, openDatabase } from "@ectus/database";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newTenant } from "../../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { until } from "../../../../tests/postgres/until.ts";
import type { Caller } from "../caller.ts";
import { createRateLimits, type RateLimits } from "./rate-limits.ts";

const { log } = recordingLog("web-api");
let testDatabase: TestDatabase;
let database: Database;
let queries = 0;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  const opened = openDatabase({ url: testDatabase.appUrl, poolSize: 8, log });
  database = {
    ...opened,
    run: (query) => {
      queries++;
      return opened.run(query);
    },
  };
});
afterAll(async () => {
  await database.close();
  await testDatabase.drop();
});

/** A clock that begins 10 s into the minute before the current one. */
function startClock() {
  const clock = { ms: Math.floor(Date.now() / 60_000) * 60_000 - 50_000 };
  return Object.assign(clock, { now: () => clock.ms });
}

const limited = async (requestsPerMinute: number | null, tokensPerMinute: number | null): Promise<Caller> =>
  (await newTenant(database, {}, { requestsPerMinute, tokensPerMinute })).caller;

/** How many of `count` requests at once pass, spread over the replicas. */
async function passing(
  replicas: readonly RateLimits[],
  caller: Caller,
  count: number,
  tokens = 1,
): Promise<number> {
  const results = await Promise.allSettled(
    Array.from({ length: count }, (_, index) => replicas[index % replicas.length]?.take(caller, tokens)),
  );
  for (const result of results)
    if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "rate_limit_exceeded" });
  return results.filter(({ status }) => status === "fulfilled").length;
}

test("without limits nothing is asked and everything passes", async () => {
  const caller = await limited(null, null);
  const before = queries;
  const endRequest = await createRateLimits(database).take(caller, 1_000_000);
  endRequest(10);
  expect(queries).toBe(before);
});

test.each([1, 7, 60, 1_000])(
  "of many requests at once on two replicas exactly the limit of %i pass",
  async (limit) => {
    const caller = await limited(limit, null);
    const { now } = startClock();
    const replicas = [createRateLimits(database, now), createRateLimits(database, now)];
    expect(await passing(replicas, caller, limit * 2 + 50)).toBe(limit);
  },
);

test("tokens are limited exactly too, and a request that used fewer gives the rest back", async () => {
  const caller = await limited(null, 1_000);
  const { now } = startClock();
  const replicas = [createRateLimits(database, now), createRateLimits(database, now)];
  const ends = await Promise.all(
    Array.from({ length: 10 }, (_, index) => (replicas[index % 2] as RateLimits).take(caller, 100)),
  );
  expect(await passing(replicas, caller, 10, 100)).toBe(0);
  for (const end of ends) end(90);
  // 900 tokens are free: some with each replica, some back in the database.
  await until(async () => (await passing(replicas, caller, 1, 100)) === 1);
});

test("tokens that come back in numbers are there for another replica", async () => {
  const caller = await limited(null, 1_000);
  const clock = startClock();
  const [one, other] = [createRateLimits(database, clock.now), createRateLimits(database, clock.now)];
  const end = await one.take(caller, 1_000);
  await expect(other.take(caller, 500)).rejects.toMatchObject({ details: { unit: "tokens" } });
  end(1_000);
  clock.ms += 1_000;
  await until(async () => {
    clock.ms += 1_000;
    return (await passing([other], caller, 1, 900)) === 1;
  });
  expect(await passing([one, other], caller, 20, 51)).toBeLessThanOrEqual(1);
});

test("tokens that were not used cannot be given back twice over or in another minute", async () => {
  const caller = await limited(null, 1_000);
  const clock = startClock();
  const limits = createRateLimits(database, clock.now);
  const end = await limits.take(caller, 600);
  end(5_000);
  expect(await passing([limits], caller, 20, 100)).toBe(10);
  clock.ms += 60_000;
  const late = await limits.take(caller, 1_000);
  clock.ms += 60_000;
  await limits.take(caller, 500);
  late(1_000);
  expect(await passing([limits], caller, 20, 100)).toBe(5);
});

test("requests do not use up the other limit's blocks: both limits can be reached", async () => {
  const caller = await limited(100, 100_000);
  const { now } = startClock();
  const limits = createRateLimits(database, now);
  for (let i = 0; i < 100; i++) (await limits.take(caller, 9_000))(8_990);
  await expect(limits.take(caller, 1)).rejects.toMatchObject({ details: { unit: "requests", limit: 100 } });
});

test("a replica that needs tokens leaves the requests that it does not need to others", async () => {
  const caller = await limited(100, 100_000);
  const { now } = startClock();
  const [one, other] = [createRateLimits(database, now), createRateLimits(database, now)];
  for (let i = 0; i < 25; i++) await one.take(caller, 3_000);
  const used = 25;
  expect(await passing([other], caller, 100, 0)).toBe(100 - used);
});

test("who is refused is told the limit and when the minute is over, and the next minute starts afresh", async () => {
  const caller = await limited(2, null);
  const clock = startClock();
  const limits = createRateLimits(database, clock.now);
  expect(await passing([limits], caller, 5)).toBe(2);
  clock.ms += 7_500;
  await expect(limits.take(caller, 1)).rejects.toMatchObject({
    message: "Rate limit of 2 requests per minute reached. Try again in 43 seconds.",
    details: { limit: 2, unit: "requests", retryAfterSeconds: 43 },
  });
  clock.ms += 43_000;
  expect(await passing([limits], caller, 5)).toBe(2);
});

test("a request larger than the limit is refused without asking", async () => {
  const caller = await limited(null, 100);
  const before = queries;
  await expect(createRateLimits(database).take(caller, 101)).rejects.toMatchObject({
    code: "rate_limit_exceeded",
    details: { limit: 100, unit: "tokens" },
  });
  expect(queries).toBe(before);
});

test("requests that are refused over and over do not ask the database each time", async () => {
  const caller = await limited(3, 1_000);
  const { now } = startClock();
  const limits = createRateLimits(database, now);
  await passing([limits], caller, 4);
  const before = queries;
  expect(await passing([limits], caller, 500)).toBe(0);
  expect(queries - before).toBeLessThanOrEqual(1);
  // A limit that was raised holds at once.
  expect(await passing([limits], { ...caller, requestsPerMinute: 5 }, 5)).toBe(2);
});

test("a replica whose clock is seconds behind gets no minute of its own, and does not break the other's", async () => {
  const caller = await limited(100, null);
  const base = Math.floor(Date.now() / 60_000) * 60_000 - 60_000;
  const ahead = createRateLimits(database, () => base + 2_000);
  const behind = createRateLimits(database, () => base - 3_000);
  expect(await passing([ahead], caller, 60)).toBe(60);
  expect(await passing([behind], caller, 100)).toBe(40);
  expect(await passing([ahead], caller, 100)).toBe(0);
});

test("a clock that is hours ahead spoils no more than the next minute", async () => {
  const caller = await limited(10, null);
  const fast = createRateLimits(database, () => Date.now() + 5 * 3_600_000);
  expect(await passing([fast], caller, 20)).toBe(10);
  const windows = await database.run<{ sane: boolean }>({
    text: "select window_start <= date_trunc('minute', now()) + interval '1 minute' as sane from rate_windows where $1 = 1",
    values: [1],
    operation: "test",
    table: "none",
  });
  expect(windows.every(({ sane }) => sane)).toBe(true);
});

test("when the database cannot be reached all who wait are told so at once", async () => {
  const caller = await limited(10, null);
  let asked = 0;
  const gate = Promise.withResolvers<void>();
  const broken: Database = {
    ...database,
    run: async () => {
      asked++;
      await gate.promise;
      throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    },
  };
  const limits = createRateLimits(broken);
  const all = Promise.allSettled(Array.from({ length: 50 }, () => limits.take(caller, 1)));
  gate.resolve();
  expect((await all).every(({ status }) => status === "rejected")).toBe(true);
  expect(asked).toBe(1);
});

test("windows are dropped, the oldest first, when there are too many", async () => {
  const { caller } = await newTenant(database, {}, { requestsPerMinute: 20 });
  const endless: Database = {
    ...database,
    run: async () => [{ requests: 1, tokens: 0 }] as never,
  };
  const limits = createRateLimits(endless);
  for (let key = 0; key < 20_001; key++) await limits.take({ ...caller, keyId: String(key) }, 0);
  // The first key's window is gone: it is asked for anew. Nothing else shows.
  await limits.take({ ...caller, keyId: "0" }, 0);
});
