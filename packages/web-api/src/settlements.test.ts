import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { currentContext } from "@ectus/core";
import {
  createLoginRoles,
  type Database,
  migrate,
  openDatabase,
  startEmbeddedPostgres,
  stopPostgresAtOnce,
} from "@ectus/database";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { drawTree, inTrace } from "../../../tests/monitoring/in-trace.ts";
import { recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { findBookFaults, newUsage, readBudgets } from "../../../tests/postgres/account-books.ts";
import { type Connection, connectTo } from "../../../tests/postgres/connect.ts";
import { newTenant, type TestTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { app, owner as ownerLogin, urlAs } from "../../../tests/postgres/template.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { createTokenBudgets } from "./limits/token-budgets.ts";
import { createSettlements, type Settlements, type SettlementsOptions } from "./settlements.ts";

const { log, lines } = recordingLog("web-api");
let testDatabase: TestDatabase;
let database: Database;
let owner: Connection;
let tenant: TestTenant;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase({ url: testDatabase.appUrl, poolSize: 4, log, slowQueryMs: 1_000 });
  owner = await connectTo(testDatabase.ownerUrl);
  tenant = await newTenant(database);
});
afterEach(async () => {
  expect(await findBookFaults(owner)).toEqual([]);
});
afterAll(async () => {
  await owner.end();
  await database.close();
  await testDatabase.drop();
});

/** A database whose settlements are counted and may be held back or fail. */
function watch(before: (batch: number, size: number) => Promise<void> = async () => {}) {
  const sizes: number[] = [];
  const run: Database["run"] = async (query) => {
    if (query.operation === "settle") {
      const size = (query.values[2] as string).split('"(').length - 1;
      sizes.push(size);
      await before(sizes.length, size);
    }
    return database.run(query);
  };
  return { sizes, database: { ...database, run } };
}

const start = (options: Partial<SettlementsOptions> = {}): Settlements =>
  createSettlements({ database, log, ...options });

async function findUsage(ids: readonly string[], from: Connection = owner): Promise<string[]> {
  const { rows } = await from.query("select id from usage where id = any ($1)", [ids]);
  return rows.map(({ id }) => id);
}

function settle(settlements: Settlements, more: Parameters<typeof newUsage>[1] = {}) {
  const usage = newUsage(tenant, more);
  settlements.begin();
  return { id: usage.id, settled: settlements.settle({ usage }) };
}

test("a settlement resolves when it is committed", async () => {
  const settlements = start();
  const { id, settled } = settle(settlements);
  await settled;
  expect(await findUsage([id])).toEqual([id]);
  await settlements.close();
});

test("settlements that end together share a transaction, at most 256 of them", async () => {
  const { sizes, database: watched } = watch();
  const settlements = start({ database: watched });
  const all = Array.from({ length: 600 }, () => settle(settlements));
  await Promise.all(all.map(({ settled }) => settled));
  expect(sizes.length).toBeLessThan(40);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(256);
  expect(await findUsage(all.map(({ id }) => id))).toHaveLength(600);
  await settlements.close();
});

test("a batch has at most four completions to be stored, which may be large", async () => {
  const first = Promise.withResolvers<void>();
  const { sizes, database: watched } = watch((batch) => (batch === 1 ? first.promise : Promise.resolve()));
  const settlements = start({ database: watched });
  const alone = settle(settlements);
  const stored = Array.from({ length: 10 }, () => {
    const usage = newUsage(tenant);
    settlements.begin();
    const row = {
      tenant_id: tenant.id,
      id: usage.id,
      created_at: usage.created_at,
      model: "m",
      metadata: {},
      end_user: null,
      request: {},
      response: {},
      nul_replaced: false,
    };
    return { id: usage.id, settled: settlements.settle({ usage, completion: { row, messages: [] } }) };
  });
  first.resolve();
  await Promise.all([alone, ...stored].map(({ settled }) => settled));
  expect(sizes).toEqual([1, 4, 4, 2]);
  const { rows } = await owner.query("select from completions where id = any ($1)", [
    stored.map(({ id }) => id),
  ]);
  expect(rows).toHaveLength(10);
  await settlements.close();
});

test("one that ends alone does not wait for requests that run on", async () => {
  const settlements = start();
  for (let i = 0; i < 1_000; i++) settlements.begin();
  await settle(settlements).settled;
  for (let i = 0; i < 1_000; i++) settlements.drop();
  await settlements.close();
});

test("in a batch with a row that the database refuses, the others are settled", async () => {
  const settlements = start();
  const good = Array.from({ length: 20 }, () => settle(settlements));
  const bad = settle(settlements, { duration_ms: 1e12 });
  const more = Array.from({ length: 20 }, () => settle(settlements));
  await expect(bad.settled).rejects.toMatchObject({ code: "22003" });
  await Promise.all([...good, ...more].map(({ settled }) => settled));
  expect(await findUsage([...good, ...more, bad].map(({ id }) => id))).toHaveLength(40);
  expect(lines.filter(({ msg }) => msg === "usage could not be recorded")).toMatchObject([
    { level: "error", usage: { id: bad.id, charged_tokens: 2 } },
  ]);
  await settlements.close();
});

test("a key's last use is written, but not with every settlement", async () => {
  const touched: boolean[] = [];
  const run: Database["run"] = (query) => {
    if (query.operation === "settle") touched.push(query.values[5] !== null);
    return database.run(query);
  };
  const settlements = start({ database: { ...database, run } });
  for (let i = 0; i < 3; i++) await settle(settlements).settled;
  expect(touched).toEqual([true, false, false]);
  const { rows } = await owner.query("select last_used_at from api_keys where id = $1", [
    tenant.caller.keyId,
  ]);
  expect(rows[0].last_used_at).not.toBeNull();
  await settlements.close();
});

test("a connection that breaks before or after the commit costs nothing and counts nothing twice", async () => {
  const reset = () => Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
  let attempts = 0;
  const run: Database["run"] = async (query) => {
    if (query.operation !== "settle") return database.run(query);
    attempts++;
    if (attempts === 1) throw reset();
    const rows = await database.run<never>(query);
    if (attempts === 2) throw reset();
    return rows;
  };
  const settlements = start({ database: { ...database, run } });
  const before = (await readBudgets(owner, tenant.id))[0]?.spent ?? 0;
  await settle(settlements, { charged_tokens: 11 }).settled;
  expect(attempts).toBe(3);
  expect((await readBudgets(owner, tenant.id))[0]?.spent).toBe(before + 11);
  await settlements.close();
});

test("a deadlock or a full disk is tried again", async () => {
  const { sizes, database: watched } = watch(async (batch) => {
    // A real error of the server: pg's class with the code of a full disk.
    if (batch === 1)
      await database.run({
        text: "do $$ begin raise exception 'no space' using errcode = 'disk_full'; end $$",
        values: [],
        operation: "test",
        table: "none",
      });
  });
  const settlements = start({ database: watched });
  await settle(settlements).settled;
  expect(sizes).toEqual([1, 1]);
  await settlements.close();
});

test("when the database stays away the settlement fails in time, and what it says is in the log", async () => {
  const { database: watched } = watch(() =>
    Promise.reject(Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })),
  );
  const settlements = start({ database: watched, retryForMs: 200 });
  const startedAt = performance.now();
  const all = Array.from({ length: 5 }, () => settle(settlements));
  const results = await Promise.allSettled(all.map(({ settled }) => settled));
  expect(results.every(({ status }) => status === "rejected")).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  const logged = lines.map(({ usage }) => (usage as { id?: string } | undefined)?.id);
  expect(logged).toEqual(expect.arrayContaining(all.map(({ id }) => id)));
  await settlements.close();
});

test("no more wait than the queue holds, and what is refused is in the log", async () => {
  const gate = Promise.withResolvers<void>();
  const { database: watched } = watch(() => gate.promise);
  const settlements = start({ database: watched, mostPending: 10 });
  // The first two batches are under way and wait no more.
  const first = [settle(settlements), settle(settlements)];
  const waiting = Array.from({ length: 50 }, () => settle(settlements));
  const results = Promise.allSettled(waiting.map(({ settled }) => settled));
  gate.resolve();
  const refused = (await results).filter(({ status }) => status === "rejected");
  expect(refused.length).toBeGreaterThanOrEqual(30);
  for (const one of refused) expect(one).toMatchObject({ reason: { code: "database_unavailable" } });
  await Promise.all(first.map(({ settled }) => settled));
  expect(lines.some(({ msg }) => String(msg).includes("too many settlements are waiting"))).toBe(true);
  await settlements.close();
});

test("close waits for all that is pending, and takes no more", async () => {
  const gate = Promise.withResolvers<void>();
  const { database: watched } = watch(() => gate.promise);
  const settlements = start({ database: watched });
  const all = Array.from({ length: 700 }, () => settle(settlements));
  let closed = false;
  const closing = settlements.close().then(() => {
    closed = true;
  });
  await expect(settle(settlements).settled).rejects.toMatchObject({ code: "database_unavailable" });
  expect(closed).toBe(false);
  gate.resolve();
  await closing;
  expect(await findUsage(all.map(({ id }) => id))).toHaveLength(700);
  await Promise.all(all.map(({ settled }) => settled));
});

test("what requests settle together is in the trace of each, and done in the context of none", async () => {
  const contexts: unknown[] = [];
  const first = Promise.withResolvers<void>();
  const { sizes, database: watched } = watch((batch) => {
    contexts.push(currentContext());
    return batch === 1 ? first.promise : Promise.resolve();
  });
  const settlements = start({ database: watched });
  const traces = recordTraces();
  const settled = ["a", "b", "c", "d"].map((id) => inTrace(traces, () => settle(settlements).settled, id));
  await until(() => sizes.length === 1);
  first.resolve();
  await Promise.all(settled);
  await settlements.close();
  expect(sizes).toEqual([1, 3]);
  expect(contexts).toEqual([undefined, undefined]);
  const spans = (await traces.spans()).filter(({ name }) => name !== "pool.wait");
  expect(drawTree(spans)).toEqual(Array(4).fill(["request", "  settle usage"]).flat());
  const statements = spans.filter(({ name }) => name === "settle usage");
  const batchSizes = statements.map(({ attributes }) => attributes["db.operation.batch.size"]);
  expect(batchSizes).toEqual([undefined, 3, 3, 3]);
});

test("a settlement that fails has its request's trace kept, and that request's ids on its line", async () => {
  const settlements = start();
  const traces = recordTraces(0);
  const good = inTrace(traces, () => settle(settlements).settled, "good");
  await good;
  const bad = newUsage(tenant, { duration_ms: 1e12 });
  settlements.begin();
  const failed = inTrace(traces, () => settlements.settle({ usage: bad }), "bad");
  await expect(failed).rejects.toMatchObject({ code: "22003" });
  await settlements.close();
  const spans = await traces.spans();
  expect(drawTree(spans.filter(({ name }) => name !== "pool.wait"))).toEqual(["request", "  settle usage"]);
  expect(spans.find(({ name }) => name === "settle usage")?.attributes).toMatchObject({
    "error.type": "invalid_data",
    "db.response.status_code": "22003",
  });
  const line = lines.find(({ usage }) => (usage as { id?: string } | undefined)?.id === bad.id);
  expect(line).toMatchObject({ correlationId: "bad", traceId: spans[0]?.spanContext().traceId });
});

test("of requests that settle together with one that is refused, its trace is kept, and one more at most", async () => {
  const first = Promise.withResolvers<void>();
  const { sizes, database: watched } = watch((batch) => (batch === 1 ? first.promise : Promise.resolve()));
  const settlements = start({ database: watched });
  const traces = recordTraces(0);
  const kept: string[] = [];
  const settleAs = (id: string, usage = newUsage(tenant)) =>
    inTrace(
      traces,
      async () => {
        settlements.begin();
        await settlements.settle({ usage }).catch(() => {});
        if (currentContext()?.span?.isKept === true) kept.push(id);
      },
      id,
    );
  const settled = [settleAs("first")];
  await until(() => sizes.length === 1);
  const bad = newUsage(tenant, { duration_ms: 1e12 });
  settled.push(settleAs("a"), settleAs("b"), settleAs("bad", bad), settleAs("c"));
  first.resolve();
  await Promise.all(settled);
  await settlements.close();
  expect(sizes).toEqual([1, 4, 1, 1, 1, 1]);
  expect(kept).toEqual(["a", "bad"]);
});

test("close with nothing pending is done at once", async () => {
  await start().close();
});

interface Load {
  readonly settled: string[];
  readonly failed: string[];
  stop(): Promise<void>;
}

/** Two instances under load, each with its own connections, budget leases and settlements. */
function startLoad(url: string, of: TestTenant): Load {
  const load = { settled: [] as string[], failed: [] as string[], stopping: false };
  const instances = [1, 2].map(() => {
    const own = openDatabase({ url, poolSize: 4, log, connectTimeoutMs: 1_000 });
    const settlements = createSettlements({ database: own, log });
    const budgets = createTokenBudgets({ database: own, instanceId: settlements.instanceId, log });
    return { own, settlements, budgets };
  });
  const clients = instances.flatMap(({ settlements, budgets }) =>
    Array.from({ length: 8 }, async () => {
      while (!load.stopping) {
        const reservation = await budgets.reserve(of.caller, 20, new Date()).catch(() => undefined);
        if (reservation === undefined) {
          await until(() => load.stopping, 50).catch(() => {});
          continue;
        }
        const usage = newUsage(of, { charged_tokens: 13 });
        settlements.begin();
        await settlements.settle({ usage, leasedTokens: reservation.fromLease(13) }).then(
          () => load.settled.push(usage.id),
          () => load.failed.push(usage.id),
        );
        reservation.end(13);
      }
    }),
  );
  return Object.assign(load, {
    async stop() {
      load.stopping = true;
      await Promise.all(clients);
      for (const { own, settlements, budgets } of instances) {
        await settlements.close();
        await budgets.close();
        await own.close();
      }
    },
  });
}

async function checkLoad(load: Load, of: TestTenant, from: Connection): Promise<void> {
  expect(load.failed).toEqual([]);
  const { rows } = await from.query("select id from usage where tenant_id = $1", [of.id]);
  expect(rows.map(({ id }) => id).sort()).toEqual(load.settled.toSorted());
  expect(await findBookFaults(from)).toEqual([]);
  const [budget] = await readBudgets(from, of.id);
  expect(budget).toMatchObject({ spent: load.settled.length * 13, leased: 0 });
}

test("connections that are killed under load lose no settlement and count none twice", async () => {
  const busy = await newTenant(database, { monthly_token_budget: 1_000_000_000 });
  const load = startLoad(testDatabase.appUrl, busy);
  for (let round = 1; round <= 10; round++) {
    await until(() => load.settled.length >= round * 50);
    await owner.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'ectus_app' and datname = current_database() and query like '%settle%'",
    );
  }
  await until(() => load.settled.length >= 600);
  await load.stop();
  await checkLoad(load, busy, owner);
});

test("a database that crashes and restarts under load has every settlement that was confirmed, once", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-settlements-"));
  const dataDir = join(folder, "postgres");
  let postgres = await startEmbeddedPostgres({ dataDir, log });
  try {
    const superuser = await connectTo(postgres.superuserUrl);
    await createLoginRoles(superuser, { owner: ownerLogin.password, app: app.password });
    await superuser.query(`create database crashing owner ${ownerLogin.role}`);
    await superuser.end();
    const ownerUrl = urlAs(postgres.superuserUrl, ownerLogin, "crashing");
    const appUrl = urlAs(postgres.superuserUrl, app, "crashing");
    await migrate({ url: ownerUrl, log });
    const setUp = openDatabase({ url: appUrl, poolSize: 1, log });
    const busy = await newTenant(setUp, { monthly_token_budget: 1_000_000_000 });
    await setUp.close();

    const load = startLoad(appUrl, busy);
    for (let round = 1; round <= 2; round++) {
      await until(() => load.settled.length >= round * 200);
      const { port, exited } = postgres;
      await stopPostgresAtOnce(dataDir);
      await exited;
      await postgres.stop();
      postgres = await startEmbeddedPostgres({ dataDir, log, port });
    }
    await until(() => load.settled.length >= 600);
    await load.stop();
    const after = await connectTo(ownerUrl);
    await checkLoad(load, busy, after);
    await after.end();
  } finally {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}, 60_000);
