import { randomUUIDv7 } from "node:crypto";
import { PassThrough, type Readable } from "node:stream";
import { buffer, text as textOf } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { runInContext } from "@ectus/core";
import { Registry } from "@ectus/metrics";
import { createInstruments } from "@ectus/monitoring";
import { sql } from "kysely";
import type pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { countedIn, samplesOf } from "../../../tests/postgres/measured.ts";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { type RecordingLog, recordingLog } from "../../../tests/postgres/recording-log.ts";
import { startStallingProxy } from "../../../tests/postgres/stalling-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Database, type DatabaseOptions, openDatabase, type TenantTransaction } from "./database.ts";

let testDatabase: TestDatabase;
let owner: pg.Client;
let tenantId: string;
let registry: Registry;
let recording: RecordingLog;
const opened: Database[] = [];

const userCount = 250;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  owner = await connectTo(testDatabase.ownerUrl);
  recording = recordingLog();
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log: recording.log });
  tenantId = (await newTenant(database)).id;
  const other = (await newTenant(database)).id;
  await owner.query(
    `insert into users (tenant_id, id, name, email)
     select t, gen_random_uuid(), 'User ' || g, 'u' || g || '@example.org'
     from unnest($1::uuid[]) t, generate_series(1, $2) g`,
    [[tenantId, other], userCount],
  );
  await database.close();
});
beforeEach(() => {
  registry = new Registry();
  recording = recordingLog();
});
afterEach(async () => {
  for (const database of opened.splice(0)) await database.close();
});
afterAll(async () => {
  await owner.end();
  await testDatabase.drop();
});

function open(options: Partial<DatabaseOptions> = {}): Database {
  const instruments = createInstruments(registry);
  const { log } = recording;
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log, instruments, ...options });
  opened.push(database);
  return database;
}

const durationsOf = (operation: string) =>
  countedIn(registry, "db_query_duration_seconds").filter((line) => line.startsWith(`${operation} `));
const errors = () => countedIn(registry, "db_query_errors_total");
const connectionErrors = () => countedIn(registry, "db_connection_errors_total");
const transactions = () => countedIn(registry, "db_transaction_duration_seconds");
const users = (tx: TenantTransaction) => tx.selectFrom("users").select(["id", "name"]).orderBy("name");
const backendOf = async (database: Database): Promise<number> => {
  const query = {
    text: "select pg_backend_pid() as pid",
    values: [],
    operation: "test",
    table: "none",
  } as const;
  return (await database.run<{ pid: number }>(query))[0]?.pid as number;
};
const stateOf = async (pid: number): Promise<string | undefined> => {
  const { rows } = await owner.query(
    "select concat_ws(' ', state, wait_event) as state from pg_stat_activity where pid = $1",
    [pid],
  );
  return rows[0]?.state;
};
const sleeping = async (pid: number): Promise<boolean> => (await stateOf(pid)) === "active PgSleep";
const unavailable = { code: "database_unavailable" };
const many = (rows: number) => `copy (select repeat('x', 999) from generate_series(1, ${rows})) to stdout`;

/** Opens a COPY and gives it with the transaction that it is in, which ends when the stream has closed. */
function startCopy(database: Database, copy: { text: string; timeoutMs?: number; signal?: AbortSignal }) {
  const started = Promise.withResolvers<Readable>();
  const transaction = database.inTenant(tenantId, async (tx) => {
    const stream = await database.copyOut(tx, { table: "none", ...copy });
    const closed = new Promise<void>((resolve, reject) => {
      stream.once("error", reject);
      stream.once("close", resolve);
    });
    started.resolve(stream);
    await closed;
  });
  transaction.catch(() => {});
  return { stream: started.promise, transaction };
}

test("a cursor gives all rows in order, with values as queries have them, and is measured once", async () => {
  const rows = await open().inTenant(tenantId, async (tx) => {
    const found: unknown[] = [];
    for await (const row of users(tx).stream(100)) found.push(row);
    expect(found).toEqual(await users(tx).execute());
    const one = sql<{ big: number }>`select 2::int8 as big, '2026-11-01'::date as day`;
    const { rows: plain } = await one.execute(tx);
    for await (const row of tx.getExecutor().stream(one.compile(tx), 1)) expect(row.rows).toEqual(plain);
    return found;
  });
  expect(rows).toHaveLength(userCount);
  expect(durationsOf("cursor")).toEqual(["cursor none: 1", "cursor users: 1"]);
  expect(errors()).toEqual([]);
  expect(transactions()).toEqual(["committed: 1"]);
});

test("a cursor lasts as long as its reader takes", async () => {
  await open().inTenant(tenantId, async (tx) => {
    let isFirst = true;
    for await (const _ of users(tx).stream(100)) {
      if (isFirst) await owner.query("select pg_sleep(0.3)");
      isFirst = false;
    }
  });
  const cursor = samplesOf(registry, "db_query_duration_seconds").find(
    ({ labels }) => labels.operation === "cursor",
  );
  expect(cursor?.sum).toBeGreaterThanOrEqual(0.3);
});

test("a cursor that is left early is counted as abandoned, and its transaction goes on", async () => {
  const database = open();
  const pid = await backendOf(database);
  const count = await database.inTenant(tenantId, async (tx) => {
    for await (const _ of users(tx).stream(10)) break;
    return (await users(tx).execute()).length;
  });
  expect(count).toBe(userCount);
  expect(errors()).toEqual(["cursor abandoned: 1"]);
  expect(transactions()).toEqual(["committed: 1"]);
  expect(await backendOf(database)).toBe(pid);
});

test("a cursor whose statement fails rejects with the server's error and costs no connection", async () => {
  const database = open();
  const pid = await backendOf(database);
  for (const from of [1, 500]) {
    const failing = database.inTenant(tenantId, async (tx) => {
      const query = sql<{ q: number }>`select 1 / (g - 500) as q from generate_series(${from}::int, 1000) g`;
      for await (const _ of tx.getExecutor().stream(query.compile(tx), 100));
    });
    await expect(failing).rejects.toMatchObject({ code: "22012" });
  }
  expect(errors()).toEqual(["cursor invalid_data: 2"]);
  expect(transactions()).toEqual(["rolled_back: 2"]);
  expect(await backendOf(database)).toBe(pid);
});

test("a value of a cursor that cannot be read rejects, and ends nothing else", async () => {
  const reading = open().inTenant(tenantId, async (tx) => {
    const query = sql`select 9007199254740993::int8 as big from generate_series(1, 10)`.compile(tx);
    for await (const _ of tx.getExecutor().stream(query, 3));
  });
  await expect(reading).rejects.toThrow("bigint 9007199254740993 is out of the safe range");
  expect(errors()).toEqual(["cursor other: 1"]);
  expect(transactions()).toEqual(["rolled_back: 1"]);
});

test("the abort of a cursor's signal ends the statement on the server, and its connection", async () => {
  const database = open();
  const pid = await backendOf(database);
  const abort = new AbortController();
  const reading = database.inTenant(tenantId, async (tx) => {
    const query = sql`select pg_sleep(60)`.compile(tx);
    for await (const _ of tx.getExecutor().stream(query, 1, { signal: abort.signal }));
  });
  reading.catch(() => {});
  await until(() => sleeping(pid));
  abort.abort(new Error("no longer needed"));
  await expect(reading).rejects.toThrow();
  await until(async () => (await stateOf(pid)) === undefined);
  expect(errors()).toEqual(["cursor canceled: 1"]);
  expect(connectionErrors()).toEqual([]);
  expect(transactions()).toEqual(["failed: 1"]);
  expect(await backendOf(database)).not.toBe(pid);
});

test("a cursor whose connection breaks is database_unavailable", async () => {
  const database = open();
  const pid = await backendOf(database);
  const reading = database.inTenant(tenantId, async (tx) => {
    for await (const _ of users(tx).stream(10))
      await owner.query("select pg_terminate_backend($1, 5000)", [pid]);
  });
  await expect(reading).rejects.toMatchObject(unavailable);
  expect(errors()).toEqual(["cursor connection: 1"]);
  expect(transactions()).toEqual(["failed: 1"]);
});

test("a cursor that nobody reads on does not hold up the end of its transaction, which fails", async () => {
  const database = open();
  const pid = await backendOf(database);
  const leaving = database.inTenant(tenantId, async (tx) => {
    await users(tx).stream(10)[Symbol.asyncIterator]().next();
  });
  await expect(leaving).rejects.toThrow("must be read to its end before the next statement");
  expect(errors()).toEqual(["cursor abandoned: 1"]);
  expect(transactions()).toEqual(["failed: 1"]);
  expect(await backendOf(database)).not.toBe(pid);
});

test("a COPY gives what the tenant may see, and the transaction goes on after it", async () => {
  const database = open();
  const pid = await backendOf(database);
  const id = randomUUIDv7();
  const lines = await database.inTenant(tenantId, async (tx) => {
    await tx
      .insertInto("users")
      .values({ tenant_id: tenantId, id, name: "New", email: "n@example.org" })
      .execute();
    const copied = await textOf(
      await database.copyOut(tx, { table: "users", text: "copy (select name from users) to stdout" }),
    );
    await tx.deleteFrom("users").where("id", "=", id).execute();
    return copied.trimEnd().split("\n");
  });
  expect(lines).toHaveLength(userCount + 1);
  expect(lines).toContain("New");
  expect(durationsOf("copy")).toEqual(["copy users: 1"]);
  expect(errors()).toEqual([]);
  expect(transactions()).toEqual(["committed: 1"]);
  expect(await backendOf(database)).toBe(pid);
});

test("a COPY may come right after another one, and give nothing", async () => {
  const database = open();
  const sizes = await database.inTenant(tenantId, async (tx) => {
    const found: number[] = [];
    for (const rows of [0, 1, 0, 70_000])
      found.push((await buffer(await database.copyOut(tx, { table: "none", text: many(rows) }))).length);
    return found;
  });
  expect(sizes).toEqual([0, 1_000, 0, 70_000_000]);
});

test("the server waits for a slow reader, and little is kept here meanwhile", async () => {
  const database = open();
  const pid = await backendOf(database);
  const { stream, transaction } = startCopy(database, { text: many(50_000) });
  const copy = await stream;
  await until(async () => (await stateOf(pid)) === "active ClientWrite");
  expect(copy.readableLength).toBeLessThan(1_000_000);
  expect((await buffer(copy)).length).toBe(50_000_000);
  await transaction;
});

test("the time that statements have does not hold for a COPY, which has its own", async () => {
  const database = open({ statementTimeoutMs: 100 });
  const slow = "copy (select pg_sleep(0.1) from generate_series(1, 4)) to stdout";
  const { stream, transaction } = startCopy(database, { text: slow });
  expect(await textOf(await stream)).toBe("\n\n\n\n");
  await transaction;
  const tooSlow = startCopy(database, { text: "copy (select pg_sleep(60)) to stdout", timeoutMs: 200 });
  await expect(tooSlow.transaction).rejects.toMatchObject({ code: "57014" });
  expect(errors()).toEqual(["copy timeout: 1"]);
});

test("a COPY that fails rejects with the server's error, at once or midway, and costs no connection", async () => {
  const database = open();
  const pid = await backendOf(database);
  const wrong = startCopy(database, { text: "copy nothing to stdout" });
  await expect(wrong.transaction).rejects.toMatchObject({ code: "42P01" });
  const midway = startCopy(database, {
    text: "copy (select repeat('x', 999), 1 / (5000 - g) from generate_series(1, 10000) g) to stdout",
  });
  let bytes = 0;
  const reading = (async () => {
    for await (const chunk of await midway.stream) bytes += chunk.length;
  })();
  await expect(reading).rejects.toMatchObject({ code: "22012" });
  await expect(midway.transaction).rejects.toMatchObject({ code: "22012" });
  expect(bytes).toBeGreaterThan(1_000_000);
  expect(errors()).toEqual(["copy invalid_data: 1", "copy invalid_statement: 1"]);
  expect(transactions()).toEqual(["rolled_back: 2"]);
  expect(await backendOf(database)).toBe(pid);
});

test.each([
  ["before it gives anything", "copy (select pg_sleep(60)) to stdout", "active PgSleep"],
  ["while the server waits for the reader", many(1_000_000), "active ClientWrite"],
])("the abort of a COPY's signal %s ends it on the server, and its connection", async (_, text, state) => {
  const database = open();
  const pid = await backendOf(database);
  const abort = new AbortController();
  const { stream, transaction } = startCopy(database, { text, signal: abort.signal });
  const copy = await stream;
  await until(async () => (await stateOf(pid)) === state);
  abort.abort();
  await expect(transaction).rejects.toMatchObject({ name: "AbortError" });
  expect(copy.destroyed).toBe(true);
  await until(async () => (await stateOf(pid)) === undefined);
  expect(errors()).toEqual(["copy canceled: 1"]);
  expect(connectionErrors()).toEqual([]);
  expect(transactions()).toEqual(["failed: 1"]);
  expect(await backendOf(database)).not.toBe(pid);
});

test("a signal that is aborted already starts no COPY", async () => {
  const database = open();
  const { transaction } = startCopy(database, { text: many(1), signal: AbortSignal.abort() });
  await expect(transaction).rejects.toMatchObject({ name: "AbortError" });
  expect(durationsOf("copy")).toEqual([]);
  expect(transactions()).toEqual(["rolled_back: 1"]);
});

test("a COPY whose reader leaves is abandoned: it ends on the server, and its transaction fails", async () => {
  const database = open();
  const pid = await backendOf(database);
  const leaving = database.inTenant(tenantId, async (tx) => {
    for await (const _ of await database.copyOut(tx, { table: "none", text: many(1_000_000) })) break;
  });
  await expect(leaving).rejects.toThrow("must be read to its end before the next statement");
  await until(async () => (await stateOf(pid)) === undefined);
  expect(errors()).toEqual(["copy abandoned: 1"]);
  expect(connectionErrors()).toEqual([]);
  expect(transactions()).toEqual(["failed: 1"]);
  expect(await backendOf(database)).not.toBe(pid);
});

test("a transaction whose work ends before its COPY was read fails, and ends the COPY on the server", async () => {
  const database = open();
  const pid = await backendOf(database);
  let copy: Readable | undefined;
  const leaving = database.inTenant(tenantId, async (tx) => {
    copy = await database.copyOut(tx, { table: "none", text: many(1_000_000) });
    await expect(users(tx).execute()).rejects.toThrow("must be read to its end before the next statement");
  });
  await expect(leaving).rejects.toThrow("must be read to its end before the next statement");
  expect(copy?.destroyed).toBe(true);
  await until(async () => (await stateOf(pid)) === undefined);
  expect(transactions()).toEqual(["failed: 1"]);
  await database.ping();
});

test("a COPY whose connection breaks is database_unavailable", async () => {
  const database = open();
  const pid = await backendOf(database);
  const { stream, transaction } = startCopy(database, { text: "copy (select pg_sleep(60)) to stdout" });
  await stream;
  await until(() => sleeping(pid));
  await owner.query("select pg_terminate_backend($1, 5000)", [pid]);
  await expect(transaction).rejects.toMatchObject(unavailable);
  expect(errors()).toEqual(["copy connection: 1"]);
  expect(connectionErrors()).toEqual(["lost: 1"]);
});

test("cursors and COPY do not wait forever on a connection that fell silent", async () => {
  const proxy = await startStallingProxy(testDatabase.appUrl);
  try {
    const database = open({
      url: proxy.through(testDatabase.appUrl),
      poolSize: 2,
      statementTimeoutMs: 1_000,
    });
    const { stream, transaction } = startCopy(database, {
      text: "copy (select pg_sleep(60)) to stdout",
      timeoutMs: 1_000,
    });
    await stream;
    const reading = database.inTenant(tenantId, async (tx) => {
      for await (const _ of users(tx).stream(10)) proxy.stall();
    });
    await expect(reading).rejects.toMatchObject(unavailable);
    await expect(transaction).rejects.toMatchObject(unavailable);
  } finally {
    await proxy.close();
  }
  expect(errors()).toEqual(["copy connection: 1", "cursor connection: 1"]);
  expect(connectionErrors()).toEqual(["timeout: 2"]);
  expect(transactions()).toEqual(["failed: 2"]);
});

test("a COPY that its reader leaves lying is ended in time, and that is not the connection's fault", async () => {
  const database = open();
  const pid = await backendOf(database);
  const { stream, transaction } = startCopy(database, { text: many(1_000_000), timeoutMs: 100 });
  await stream;
  await expect(transaction).rejects.toThrow("was not read within 100 ms");
  await until(async () => (await stateOf(pid)) === undefined);
  expect(errors()).toEqual(["copy timeout: 1"]);
  expect(connectionErrors()).toEqual([]);
  expect(transactions()).toEqual(["failed: 1"]);
});

test("a COPY whose server ends while it waits for the reader gives no end to who reads on", async () => {
  const database = open();
  const pid = await backendOf(database);
  const { stream, transaction } = startCopy(database, { text: many(50_000) });
  const copy = await stream;
  await until(async () => (await stateOf(pid)) === "active ClientWrite");
  await owner.query("select pg_terminate_backend($1, 5000)", [pid]);
  await expect(buffer(copy)).rejects.toMatchObject(unavailable);
  await expect(transaction).rejects.toMatchObject(unavailable);
  expect(errors()).toEqual(["copy connection: 1"]);
  expect(connectionErrors()).toEqual(["lost: 1"]);
});

test("a cursor whose connection breaks while it is closed leaves no timer behind", async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const proxy = await startStallingProxy(testDatabase.appUrl);
  try {
    const database = open({ url: proxy.through(testDatabase.appUrl) });
    const before = timers();
    const leaving = database.inTenant(tenantId, async (tx) => {
      for await (const _ of users(tx).stream(10)) {
        proxy.stall();
        setImmediate(proxy.cut);
        break;
      }
    });
    await expect(leaving).rejects.toMatchObject(unavailable);
    expect(timers()).toBeLessThanOrEqual(before);
  } finally {
    await proxy.close();
  }
});

test("a statement that got no answer in its time is ended on the server, too", async () => {
  const database = open();
  const pid = await backendOf(database);
  const query = { text: "select pg_sleep(20)", values: [], operation: "test", table: "none" } as const;
  await expect(database.run({ ...query, timeoutMs: 100 })).rejects.toMatchObject(unavailable);
  await until(async () => (await stateOf(pid)) === undefined, 5_000);
  expect(errors()).toEqual(["test connection: 1"]);
});

test("a COPY and a cursor are logged with the request that reads them, not with that of the connection", async () => {
  const database = open({ slowQueryMs: 50 });
  const slow = "select pg_sleep(0.1)";
  const copyOut = (tx: TenantTransaction, text: string) => database.copyOut(tx, { table: "none", text });
  await runInContext({ correlationId: "first", requestId: "first" }, () => database.ping());
  const reading = runInContext({ correlationId: "second", requestId: "second" }, () =>
    database.inTenant(tenantId, async (tx) => {
      for await (const _ of tx.getExecutor().stream(sql.raw(slow).compile(tx), 1_000));
      await pipeline(await copyOut(tx, `copy (${slow}) to stdout`), new PassThrough().resume());
      await buffer(
        await copyOut(tx, `copy (select 1 / (2 - g), pg_sleep(0.1) from generate_series(1, 2) g) to stdout`),
      );
    }),
  );
  await expect(reading).rejects.toMatchObject({ code: "22012" });
  expect(recording.lines.map(({ operation, correlationId }) => [operation, correlationId])).toEqual([
    ["cursor", "second"],
    ["copy", "second"],
    ["copy", "second"],
  ]);
});

test("cursors and COPY are slow statements when they take long, and are logged without values", async () => {
  const database = open({ slowQueryMs: 100 });
  await database.inTenant(tenantId, async (tx) => {
    const query = sql`select pg_sleep(0.15), 'secret'`.compile(tx);
    for await (const _ of tx.getExecutor().stream(query, 10));
    await textOf(
      await database.copyOut(tx, {
        table: "usage",
        text: "copy (select pg_sleep(0.15), 'secret') to stdout",
      }),
    );
  });
  expect(countedIn(registry, "db_slow_queries_total")).toEqual(["copy usage: 1", "cursor none: 1"]);
  const slow = recording.lines.filter(({ msg }) => msg === "slow statement");
  expect(slow.map(({ operation, statement }) => [operation, statement])).toEqual([
    ["cursor", "select pg_sleep(…), ?"],
    ["copy", "copy (select pg_sleep(…), ?) to stdout"],
  ]);
});

test("when close resolves after an abort, no socket is left", async () => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
  const before = sockets();
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log: recording.log });
  const abort = new AbortController();
  const { stream, transaction } = startCopy(database, { text: many(1_000_000), signal: abort.signal });
  await stream;
  abort.abort();
  await expect(transaction).rejects.toMatchObject({ name: "AbortError" });
  await database.close();
  expect(sockets()).toBe(before);
});
