import { runInContext } from "@ectus/core";
import { Registry } from "@ectus/metrics";
import { createInstruments, type Instruments, noInstruments } from "@ectus/monitoring";
import { sql } from "kysely";
import type pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { countedIn, exemplarsOf, measuredValue, samplesOf } from "../../../tests/postgres/measured.ts";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { type RecordingLog, recordingLog } from "../../../tests/postgres/recording-log.ts";
import { type StallingProxy, startStallingProxy } from "../../../tests/postgres/stalling-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Database, type DatabaseOptions, openDatabase, type TenantTransaction } from "./database.ts";
import { reclaimLeases } from "./queries/token-leases.ts";

let testDatabase: TestDatabase;
let owner: pg.Client;
let registry: Registry;
let instruments: Instruments;
let recording: RecordingLog;
let proxy: StallingProxy | undefined;
const opened: Database[] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  owner = await connectTo(testDatabase.ownerUrl);
});
beforeEach(() => {
  registry = new Registry();
  instruments = createInstruments(registry);
  recording = recordingLog();
});
afterEach(async () => {
  for (const database of opened.splice(0)) await database.close();
  await proxy?.close();
  proxy = undefined;
});
afterAll(async () => {
  await owner.end();
  await testDatabase.drop();
});

function open(options: Partial<DatabaseOptions> = {}): Database {
  const { log } = recording;
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 2, log, instruments, ...options });
  opened.push(database);
  return database;
}

const query = (text: string, values: readonly unknown[] = []) =>
  ({ text, values, operation: "test", table: "none" }) as const;
const durations = () => countedIn(registry, "db_query_duration_seconds");
const errors = () => countedIn(registry, "db_query_errors_total");
const transactions = () => countedIn(registry, "db_transaction_duration_seconds");
const connectionErrors = () => countedIn(registry, "db_connection_errors_total");
const backendOf = async (tx: TenantTransaction): Promise<number> =>
  (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx)).rows[0]?.pid as number;
const terminate = (pid: number) => owner.query("select pg_terminate_backend($1, 5000)", [pid]);
const asleep = (application = "ectus") =>
  until(
    async () =>
      (
        await owner.query(
          `select from pg_stat_activity
           where datname = current_database() and application_name = $1 and wait_event = 'PgSleep'`,
          [application],
        )
      ).rowCount === 1,
  );

/** A tenant that was made by a database of its own, so that nothing of it is measured. */
async function someTenant(): Promise<string> {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log: recording.log });
  try {
    return (await newTenant(database)).id;
  } finally {
    await database.close();
  }
}

test("statements of the query builder are measured by what they do and to which table, with those around them", async () => {
  const id = await someTenant();
  await open().inTenant(id, async (tx) => {
    await tx.insertInto("users").values({ tenant_id: id, id, name: "A", email: "a@example.org" }).execute();
    await tx.updateTable("users").set({ name: "B" }).execute();
    await tx.selectFrom("users").selectAll().execute();
    await tx.selectFrom("users").selectAll().execute();
    await tx.deleteFrom("users").execute();
  });
  expect(durations()).toEqual([
    "begin none: 1",
    "commit none: 1",
    "delete users: 1",
    "insert users: 1",
    "select users: 2",
    "set none: 1",
    "update users: 1",
  ]);
  expect(transactions()).toEqual(["committed: 1"]);
  expect(errors()).toEqual([]);
});

test("queries outside of the builder are measured by what they say that they do", async () => {
  const database = open();
  await reclaimLeases(database);
  await database.ping();
  expect(durations()).toEqual(["ping none: 1", "reclaim_lease token_leases: 1"]);
});

test("a duration is that of the statement until its whole answer is there, in seconds", async () => {
  await open().run(query("select pg_sleep(0.2)"));
  const [sample] = samplesOf(registry, "db_query_duration_seconds");
  expect(sample?.sum).toBeGreaterThanOrEqual(0.2);
  expect(sample?.sum).toBeLessThan(5);
});

test("an exemplar leads to the trace of the request, if it is kept", async () => {
  const database = open();
  const exemplars = () => exemplarsOf(registry, "db_query_duration_seconds");
  const context = { correlationId: "c", requestId: "r" };
  await runInContext(context, () => database.ping());
  expect(exemplars()).toEqual([]);
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const span = { traceId, spanId: "00f067aa0ba902b7", isKept: true, traceparent: "", tracestate: undefined };
  await runInContext({ ...context, span: { ...span, isKept: false } }, () => database.ping());
  expect(exemplars()).toEqual([]);
  await runInContext({ ...context, span }, () => database.ping());
  expect(exemplars()).toEqual([{ trace_id: traceId }]);
});

const insertUser = (id: string, more: object = {}) =>
  ({ tenant_id: id, id, name: "A", email: "a@example.org", ...more }) as const;

test.each<[reason: string, operation: string, work: (tx: TenantTransaction, id: string) => Promise<unknown>]>(
  [
    [
      "unique_violation",
      "insert",
      async (tx, id) => {
        await tx.insertInto("users").values(insertUser(id)).execute();
        await tx.insertInto("users").values(insertUser(id)).execute();
      },
    ],
    [
      "foreign_key_violation",
      "insert",
      (tx, id) =>
        tx
          .insertInto("messages")
          .values({
            tenant_id: id,
            completion_id: id,
            position: 0,
            direction: "input",
            role: "user",
            body: "{}",
          })
          .execute(),
    ],
    [
      "check_violation",
      "insert",
      (tx, id) =>
        tx
          .insertInto("token_budgets")
          .values({ tenant_id: id, month: "2026-11-02", committed: -1 })
          .execute(),
    ],
    [
      "not_null_violation",
      "insert",
      (tx, id) =>
        tx
          .insertInto("users")
          .values(insertUser(id, { name: null as unknown as string }))
          .execute(),
    ],
    [
      "insufficient_privilege",
      "insert",
      (tx) => tx.insertInto("users").values(insertUser("01930000-0000-7000-8000-000000000001")).execute(),
    ],
    ["invalid_statement", "raw", (tx) => sql`selct 1`.execute(tx)],
    [
      "invalid_data",
      "select",
      (tx) => tx.selectFrom("users").select("id").where("id", "=", "no id").execute(),
    ],
    ["raised", "raw", (tx) => sql`do $$ begin raise exception 'no'; end $$`.execute(tx)],
    [
      "lock_timeout",
      "select",
      async (tx) => {
        await sql`set local lock_timeout = 50`.execute(tx);
        await owner.query("begin");
        try {
          await owner.query("lock table users");
          await tx.selectFrom("users").selectAll().execute();
        } finally {
          await owner.query("rollback");
        }
      },
    ],
  ],
)("a statement that fails by %s is counted as that", async (reason, operation, work) => {
  const id = await someTenant();
  await expect(open().inTenant(id, (tx) => work(tx, id))).rejects.toThrow();
  expect(errors()).toEqual([`${operation} ${reason}: 1`]);
  expect(transactions()).toEqual(["rolled_back: 1"]);
  expect(durations()).toContain("rollback none: 1");
});

test("a statement after one that failed is counted as such, and a transaction that could not commit has failed", async () => {
  const id = await someTenant();
  const work = open().inTenant(id, async (tx) => {
    await sql`select 1 / 0`.execute(tx).catch(() => {});
    await tx
      .selectFrom("users")
      .selectAll()
      .execute()
      .catch(() => {});
  });
  await expect(work).rejects.toThrow("rolled back instead of committed");
  expect(errors()).toEqual(["raw invalid_data: 1", "select invalid_transaction_state: 1"]);
  expect(transactions()).toEqual(["failed: 1"]);
});

test("a transaction within another that could not commit has the other one rolled back, and both are measured", async () => {
  const id = await someTenant();
  const database = open();
  let outer = 0;
  const work = database.inTenant(id, async (tx) => {
    outer = await backendOf(tx);
    await database.inTenant(id, (inner) => sql`select 1 / 0`.execute(inner).catch(() => {}));
  });
  await expect(work).rejects.toThrow("rolled back instead of committed");
  expect(transactions()).toEqual(["failed: 1", "rolled_back: 1"]);
  expect(durations()).toContain("rollback none: 1");
  const [row] = await database.run<{ pid: number }>(query("select pg_backend_pid() as pid"));
  expect(row?.pid).toBe(outer);
});

test("a commit that the server refuses makes the transaction a failed one", async () => {
  const id = await someTenant();
  await owner.query("create table deferred (id int unique deferrable initially deferred)");
  await owner.query("grant insert on deferred to ectus_app");
  try {
    const work = open().inTenant(id, (tx) => sql`insert into deferred values (1), (1)`.execute(tx));
    await expect(work).rejects.toMatchObject({ code: "23505" });
    expect(errors()).toEqual(["commit unique_violation: 1"]);
    expect(transactions()).toEqual(["failed: 1"]);
  } finally {
    await owner.query("drop table deferred");
  }
});

test("the server's end of a statement is a timeout when it took too long, and a cancel otherwise", async () => {
  const slow = open({ statementTimeoutMs: 100 });
  await expect(slow.run(query("select pg_sleep(60)"))).rejects.toMatchObject({ code: "57014" });
  expect(errors()).toEqual(["test timeout: 1"]);
  const canceled = open().run(query("select pg_sleep(61)"));
  canceled.catch(() => {});
  await asleep();
  await owner.query(
    "select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'",
  );
  await expect(canceled).rejects.toMatchObject({ code: "57014" });
  expect(errors()).toEqual(["test canceled: 1", "test timeout: 1"]);
  expect(connectionErrors()).toEqual([]);
});

test("a deadlock and a serialization failure are told apart", async () => {
  const [first, second] = [await someTenant(), await someTenant()];
  const database = open();
  const gate = Promise.withResolvers<void>();
  let waiting = 0;
  const meet = async (): Promise<void> => {
    waiting += 1;
    if (waiting === 2) gate.resolve();
    await gate.promise;
  };
  const lock = (tx: TenantTransaction, key: number) =>
    sql`select pg_advisory_xact_lock(${key}::int)`.execute(tx);
  const results = await Promise.allSettled([
    database.inTenant(first, async (tx) => {
      await lock(tx, 1);
      await meet();
      await lock(tx, 2);
    }),
    database.inTenant(second, async (tx) => {
      await lock(tx, 2);
      await meet();
      await lock(tx, 1);
    }),
  ]);
  expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  expect(errors()).toEqual(["raw deadlock: 1"]);
  const serialization = database.run(query("do $$ begin raise sqlstate '40001'; end $$"));
  await expect(serialization).rejects.toMatchObject({ code: "40001" });
  expect(errors()).toEqual(["raw deadlock: 1", "test serialization_failure: 1"]);
  expect(transactions()).toEqual(["committed: 1", "rolled_back: 1"]);
});

test("a connection that the server ends during a transaction fails the transaction, and is lost once", async () => {
  const id = await someTenant();
  const work = open().inTenant(id, async (tx) => {
    const pid = await backendOf(tx);
    const sleeping = sql`select pg_sleep(60)`.execute(tx);
    sleeping.catch(() => {});
    await asleep();
    await terminate(pid);
    await sleeping;
  });
  await expect(work).rejects.toMatchObject({ code: "database_unavailable" });
  expect(errors()).toEqual(["raw connection: 1"]);
  expect(transactions()).toEqual(["failed: 1"]);
  expect(connectionErrors()).toEqual(["lost: 1"]);
});

test("a transaction on a lost connection tells the error of its work, not that of its rollback", async () => {
  const id = await someTenant();
  const work = open().inTenant(id, async (tx) => {
    await terminate(await backendOf(tx));
    await tx
      .selectFrom("users")
      .selectAll()
      .execute()
      .catch(() => {});
    throw new Error("changed my mind");
  });
  await expect(work).rejects.toThrow("changed my mind");
  expect(transactions()).toEqual(["failed: 1"]);
});

test("a commit that gets no answer makes the transaction a failed one", async () => {
  const id = await someTenant();
  const database = open();
  const work = database.inTenant(id, async (tx) => {
    await terminate(await backendOf(tx));
  });
  await expect(work).rejects.toMatchObject({ code: "database_unavailable" });
  expect(errors()).toEqual(["commit connection: 1"]);
  expect(transactions()).toEqual(["failed: 1"]);
  expect(connectionErrors()).toEqual(["lost: 1"]);
  await database.ping();
});

test("a connection that is lost while it is idle is counted, and logged without the request that it was made for", async () => {
  const database = open();
  const context = { correlationId: "c", requestId: "r" };
  const [row] = await runInContext(context, () =>
    database.run<{ pid: number }>(query("select pg_backend_pid() as pid")),
  );
  await terminate(row?.pid as number);
  const lost = () => recording.lines.find(({ msg }) => msg === "idle database connection lost");
  await until(() => lost() !== undefined);
  expect(lost()).not.toHaveProperty("correlationId");
  expect(connectionErrors()).toEqual(["lost: 1"]);
  expect(measuredValue(registry, "db_pool_connections", { state: "idle" })).toBe(0);
});

test("a connection that falls silent is counted as one that gave no answer in time", async () => {
  proxy = await startStallingProxy(testDatabase.appUrl);
  const database = open({ url: proxy.through(testDatabase.appUrl), connectTimeoutMs: 1_000 });
  await database.ping();
  proxy.stall();
  const silent = database.run({ ...query("select 1"), timeoutMs: 100 });
  await expect(silent).rejects.toMatchObject({ code: "database_unavailable" });
  expect(errors()).toEqual(["test connection: 1"]);
  expect(connectionErrors()).toEqual(["timeout: 1"]);
  // Now there is no connection, and a new one gets no answer either.
  await expect(database.ping()).rejects.toMatchObject({ code: "database_unavailable" });
  expect(connectionErrors()).toEqual(["timeout: 2"]);
});

test("connections that cannot be made are counted by why", async () => {
  await expect(open({ url: "postgres://nobody:x@127.0.0.1:1/nowhere" }).ping()).rejects.toThrow();
  expect(connectionErrors()).toEqual(["refused: 1"]);
  await owner.query("create role locked login password 'right' connection limit 0");
  try {
    const locked = new URL(testDatabase.appUrl);
    locked.username = "locked";
    locked.password = "right";
    await expect(open({ url: locked.href }).ping()).rejects.toThrow();
    expect(connectionErrors()).toEqual(["refused: 1", "too_many_connections: 1"]);
    locked.password = "wrong";
    await expect(open({ url: locked.href }).ping()).rejects.toThrow();
    expect(connectionErrors()).toEqual(["authentication: 1", "refused: 1", "too_many_connections: 1"]);
  } finally {
    await owner.query("drop role locked");
  }
});

test("who gives up waiting for a free connection is counted, and so is the wait", async () => {
  const database = open({ poolSize: 1, connectTimeoutMs: 500 });
  const sleeping = database.run(query("select pg_sleep(1)"));
  await asleep();
  await expect(database.ping()).rejects.toMatchObject({ code: "database_unavailable" });
  expect(connectionErrors()).toEqual(["pool_exhausted: 1"]);
  await sleeping;
  const [waits] = samplesOf(registry, "db_pool_wait_duration_seconds");
  expect(waits?.value).toBe(2);
  expect(waits?.sum).toBeGreaterThanOrEqual(0.5);
});

test("the pool is shown as it is when a scrape asks", async () => {
  const database = open({ poolSize: 2 });
  const pool = () => ({
    active: measuredValue(registry, "db_pool_connections", { state: "active" }),
    idle: measuredValue(registry, "db_pool_connections", { state: "idle" }),
    waiting: measuredValue(registry, "db_pool_waiting"),
    size: measuredValue(registry, "db_pool_size"),
    utilization: measuredValue(registry, "db_pool_utilization_ratio"),
  });
  expect(pool()).toEqual({ active: 0, idle: 0, waiting: 0, size: 2, utilization: 0 });
  await database.ping();
  expect(pool()).toEqual({ active: 0, idle: 1, waiting: 0, size: 2, utilization: 0 });
  const sleeping = database.run(query("select pg_sleep(0.3)"));
  await asleep();
  expect(pool()).toEqual({ active: 1, idle: 0, waiting: 0, size: 2, utilization: 0.5 });
  const rest = [database.ping(), database.ping(), database.ping()];
  expect(pool()).toEqual({ active: 2, idle: 0, waiting: 2, size: 2, utilization: 1 });
  await Promise.all([sleeping, ...rest]);
  expect(pool()).toEqual({ active: 0, idle: 2, waiting: 0, size: 2, utilization: 0 });
});

test("the listener's connection is counted, too", async () => {
  const database = open();
  const options = { handlers: { news: () => {} }, onGap: () => {}, log: recording.log };
  const listener = database.listen(options);
  await listener.ready;
  await owner.query(
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name = 'ectus'",
  );
  await until(() => connectionErrors().length > 0);
  expect(connectionErrors()).toEqual(["lost: 1"]);
  await listener.close();
  const nowhere = open({ url: "postgres://nobody:x@127.0.0.1:1/nowhere" }).listen(options);
  await until(() => measuredValue(registry, "db_connection_errors_total", { reason: "refused" }) >= 2);
  await nowhere.close();
  expect(connectionErrors()[0]).toBe("lost: 1");
});

test("two databases may measure into one registry: the pools are shown as one, and each goes when it is closed", async () => {
  const [one, two] = [open({ poolSize: 3 }), open({ poolSize: 5 })];
  await Promise.all([one.ping(), two.ping()]);
  expect(durations()).toEqual(["ping none: 2"]);
  expect(measuredValue(registry, "db_pool_size")).toBe(8);
  expect(measuredValue(registry, "db_pool_connections", { state: "idle" })).toBe(2);
  opened.splice(opened.indexOf(one), 1);
  await one.close();
  expect(measuredValue(registry, "db_pool_size")).toBe(5);
  expect(measuredValue(registry, "db_pool_connections", { state: "idle" })).toBe(1);
});

test("a slow statement is counted and logged without its values, and a fast one is not", async () => {
  const id = await someTenant();
  const database = open({ slowQueryMs: 100 });
  await database.inTenant(id, async (tx) => {
    await tx
      .selectFrom("users")
      .select("id")
      .where("email", "=", "someone@example.org")
      .where(sql<boolean>`(select pg_sleep(0.2) is not null and 'secret' <> 'x')`)
      .execute();
    await tx.selectFrom("users").select("id").execute();
  });
  expect(countedIn(registry, "db_slow_queries_total")).toEqual(["select users: 1"]);
  const slow = recording.lines.filter(({ msg }) => msg === "slow statement");
  expect(slow).toEqual([
    expect.objectContaining({
      level: "warn",
      operation: "select",
      table: "users",
      durationMs: expect.any(Number),
      fingerprint: expect.stringMatching(/^[\da-f]{16}$/),
      statement: 'select "id" from "users" where "email" = ? and (select pg_sleep(…) is not null and ? <> ?)',
    }),
  ]);
  expect(slow[0]?.durationMs).toBeGreaterThanOrEqual(200);
  expect(JSON.stringify(recording.lines)).not.toMatch(/someone|secret/);
});

test("a statement that fails after a long time is slow, too", async () => {
  const database = open({ slowQueryMs: 50, statementTimeoutMs: 100 });
  await expect(database.run(query("select pg_sleep(60)"))).rejects.toThrow();
  expect(countedIn(registry, "db_slow_queries_total")).toEqual(["test none: 1"]);
});

test("without instruments slow statements are logged all the same", async () => {
  await open({ instruments: noInstruments, slowQueryMs: 50 }).run(query("select pg_sleep(0.1)"));
  expect(recording.lines.some(({ msg }) => msg === "slow statement")).toBe(true);
});

test("statements of exports take as long as their data and are not slow", async () => {
  const database = open({ slowQueryMs: 20 });
  for (const operation of ["export_copy", "export_digest", "export_count"])
    await database.run({ ...query("select pg_sleep(0.05)"), operation });
  expect(countedIn(registry, "db_slow_queries_total")).toEqual([]);
  expect(recording.lines.filter(({ msg }) => msg === "slow statement")).toEqual([]);
});
