import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { type StallingProxy, startStallingProxy } from "../../../tests/postgres/stalling-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Database, type DatabaseOptions, openDatabase, platformTenantId } from "./database.ts";

const { log, lines } = recordingLog();
let testDatabase: TestDatabase;
let owner: pg.Client;
const opened: Database[] = [];
let proxy: StallingProxy | undefined;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  owner = new pg.Client({ connectionString: testDatabase.ownerUrl });
  await owner.connect();
});
afterEach(async () => {
  await proxy?.close();
  proxy = undefined;
  for (const database of opened.splice(0)) await database.close();
});
afterAll(async () => {
  await owner.end();
  await testDatabase.drop();
});

function open(options: Partial<DatabaseOptions> = {}): Database {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log, ...options });
  opened.push(database);
  return database;
}

const query = (text: string, values: unknown[] = [1]) =>
  ({ text, values, operation: "test", table: "none" }) as const;
const backendPid = async (database: Database): Promise<number> =>
  (await database.run<{ pid: number }>(query("select pg_backend_pid() as pid where $1 = 1")))[0]
    ?.pid as number;
const terminate = (pid: number) => owner.query("select pg_terminate_backend($1, 5000)", [pid]);

test("bigint is a number, one out of the safe range is an error, and a date stays text", async () => {
  const database = open();
  const [row] = await database.run(
    query("select $1::int8 as big, '2026-11-01'::date as day", [String(Number.MAX_SAFE_INTEGER)]),
  );
  expect(row).toEqual({ big: Number.MAX_SAFE_INTEGER, day: "2026-11-01" });
  await expect(database.run(query("select $1::int8", ["9007199254740993"]))).rejects.toThrow(
    "bigint 9007199254740993 is out of the safe range",
  );
});

test("a query that the server refuses rejects with its error and costs no connection", async () => {
  const database = open();
  const pid = await backendPid(database);
  await expect(database.run(query("select $1::int / 0"))).rejects.toMatchObject({ code: "22012" });
  expect(await backendPid(database)).toBe(pid);
});

test("a text of several statements that fails midway leaves no transaction open", async () => {
  const database = open();
  await expect(database.run(query("begin; select 1 / 0; commit", []))).rejects.toThrow("division by zero");
  expect(await database.run(query("select 1 as one where $1 = 1"))).toEqual([{ one: 1 }]);
  expect(await database.run(query("select 1 as one; select 2 as one", []))).toEqual([{ one: 1 }, { one: 2 }]);
});

test("after a connection was ended by the server the next query gets another one", async () => {
  const database = open();
  const pid = await backendPid(database);
  const sleeping = database.run(query("select pg_sleep(60) where $1 = 1"));
  sleeping.catch(() => {});
  await until(
    async () =>
      (await owner.query("select from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'", [pid]))
        .rowCount === 1,
  );
  await terminate(pid);
  await expect(sleeping).rejects.toMatchObject({ code: "database_unavailable" });
  expect(await backendPid(database)).not.toBe(pid);
});

test("a connection that is lost while it is idle is replaced and said so in the log", async () => {
  const database = open();
  const pid = await backendPid(database);
  await terminate(pid);
  await until(() => lines.some(({ msg }) => msg === "idle database connection lost"));
  expect(await backendPid(database)).not.toBe(pid);
});

test("a connection that breaks between two queries of a transaction fails the transaction and nothing else", async () => {
  const database = open();
  const { id } = await newTenant(database);
  const transaction = database.inTenant(id, async (tx) => {
    const { rows } = await owner.query(
      "select pid from pg_stat_activity where state = 'idle in transaction' and datname = current_database()",
    );
    await tx.insertInto("users").values({ tenant_id: id, id, name: "A", email: "a@example.org" }).execute();
    await terminate(rows[0].pid);
    await tx.selectFrom("users").selectAll().execute();
  });
  await expect(transaction).rejects.toMatchObject({ code: "database_unavailable" });
  const users = await database.inTenant(id, (tx) => tx.selectFrom("users").selectAll().execute());
  expect(users).toEqual([]);
});

test("a transaction whose work throws is rolled back, and its connection is used again without its tenant", async () => {
  const database = open();
  const { id } = await newTenant(database);
  const pid = await backendPid(database);
  await expect(
    database.inTenant(id, async (tx) => {
      await tx.insertInto("users").values({ tenant_id: id, id, name: "A", email: "a@example.org" }).execute();
      throw new Error("changed my mind");
    }),
  ).rejects.toThrow("changed my mind");
  expect(await backendPid(database)).toBe(pid);
  expect(await database.run(query("select from users where $1 = 1"))).toEqual([]);
  const users = await database.inTenant(id, (tx) => tx.selectFrom("users").selectAll().execute());
  expect(users).toEqual([]);
});

test("what is not one tenant's id cannot be put in scope", async () => {
  const database = open();
  const { id } = await newTenant(database);
  for (const scope of ["", "x", `${id},${id}`, `${id}}`, "*"])
    await expect(database.inTenant(scope, async () => "ran")).rejects.toThrow("not a tenant's id");
});

test("a server that is not there is database_unavailable, for queries and for ping", async () => {
  const database = open({ url: "postgres://nobody:nothing@127.0.0.1:1/nowhere" });
  const unavailable = { code: "database_unavailable", details: { retryAfterSeconds: 2 } };
  await expect(database.run(query("select 1"))).rejects.toMatchObject(unavailable);
  await expect(database.ping()).rejects.toMatchObject(unavailable);
});

test("who waits too long for a free connection is told that all are busy", async () => {
  const database = open({ connectTimeoutMs: 100 });
  const sleeping = database.run(query("select pg_sleep(0.5) where $1 = 1"));
  const waiting = database.run(query("select 1 where $1 = 1"));
  await expect(waiting).rejects.toMatchObject({
    code: "database_unavailable",
    message: "All 1 database connections were busy for 100 ms. Try again in a few seconds.",
  });
  await sleeping;
  await database.ping();
});

test("the server ends a statement that takes too long", async () => {
  const database = open({ statementTimeoutMs: 100 });
  await expect(database.run(query("select pg_sleep(60) where $1 = 1"))).rejects.toMatchObject({
    code: "57014",
  });
});

test("a connection that falls silent is given up and another one made", async () => {
  proxy = await startStallingProxy(testDatabase.appUrl);
  const database = open({ url: proxy.through(testDatabase.appUrl), connectTimeoutMs: 500 });
  await database.ping();
  proxy.stall();
  const silent = database.run({ ...query("select 1 where $1 = 1"), timeoutMs: 100 });
  await expect(silent).rejects.toMatchObject({ code: "database_unavailable" });
  await expect(database.ping()).rejects.toMatchObject({ code: "database_unavailable" });
  proxy.resume();
  await database.ping();
});

test("ping tells soon that a connection has fallen silent", async () => {
  proxy = await startStallingProxy(testDatabase.appUrl);
  const database = open({ url: proxy.through(testDatabase.appUrl), connectTimeoutMs: 200 });
  await database.ping();
  proxy.stall();
  const startedAt = performance.now();
  await expect(database.ping()).rejects.toMatchObject({ code: "database_unavailable" });
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test("options in the URL do not take the place of the application's role", async () => {
  const url = new URL(testDatabase.ownerUrl);
  url.searchParams.set("options", "-c geqo=off");
  const database = open({ url: url.href });
  const [row] = await database.run(
    query("select current_user as role, current_setting('geqo') as geqo where $1 = 1"),
  );
  expect(row).toEqual({ role: "ectus_app", geqo: "off" });
});

test("a session that runs as another role is refused", async () => {
  // As behind a pooler that drops session options: this setting of the login takes their place.
  await owner.query("create role pooled login password 'pooled'");
  try {
    const url = new URL(testDatabase.appUrl);
    url.username = "pooled";
    url.password = "pooled";
    proxy = await startStallingProxy(url.href, (startup) =>
      startup.replace("role=ectus_app", "geqo=off      "),
    );
    const database = open({ url: proxy.through(url.href) });
    const refusal = {
      code: "schema_mismatch",
      message: expect.stringContaining("the session runs as pooled and not as ectus_app"),
    };
    await expect(database.ping()).rejects.toMatchObject(refusal);
    const snapshot = database.inSnapshot(
      { tenantId: platformTenantId, tables: [], readers: 1 },
      async () => {},
    );
    await expect(snapshot).rejects.toMatchObject(refusal);
  } finally {
    await owner.query("drop role pooled");
  }
});

test("when close resolves, its sockets are closed: a server that stops next has none to cut off", async () => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
  const before = sockets();
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 5, log });
  await Promise.all(Array.from({ length: 5 }, () => database.ping()));
  const open = sockets();
  await database.close();
  const after = sockets();
  // Those of tests before this one may close meanwhile.
  expect(after).toBeLessThanOrEqual(before);
  expect(open - after).toBeGreaterThanOrEqual(5);
});

test("close ends every connection, and queries after it are database_unavailable", async () => {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 2, log });
  const pid = await backendPid(database);
  await database.close();
  await until(
    async () => (await owner.query("select from pg_stat_activity where pid = $1", [pid])).rowCount === 0,
  );
  await expect(database.ping()).rejects.toMatchObject({ code: "database_unavailable" });
});
