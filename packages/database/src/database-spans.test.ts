import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { currentContext, type RequestContext, runInContext } from "@ectus/core";
import { Registry } from "@ectus/metrics";
import { createInstruments, runBatch, Span } from "@ectus/monitoring";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { sql } from "kysely";
import type pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { drawTree, inTrace, type RecordedSpan } from "../../../tests/monitoring/in-trace.ts";
import { type RecordedTraces, recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { exemplarsOf } from "../../../tests/postgres/measured.ts";
import { newTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Database, type DatabaseOptions, openDatabase, type TenantTransaction } from "./database.ts";
import { databaseAttributes, statementTemplate } from "./database-spans.ts";

const { log, lines } = recordingLog();
let testDatabase: TestDatabase;
let owner: pg.Client;
let tenantId: string;
let traces: RecordedTraces;
const opened: Database[] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  owner = await connectTo(testDatabase.ownerUrl);
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log });
  tenantId = (await newTenant(database)).id;
  await owner.query(
    "insert into users (tenant_id, id, name, email) select $1, gen_random_uuid(), 'Name', g || '@example.org' from generate_series(1, 50) g",
    [tenantId],
  );
  await database.close();
});
beforeEach(() => {
  traces = recordTraces();
});
afterEach(async () => {
  for (const database of opened.splice(0)) await database.close();
});
afterAll(async () => {
  await owner.end();
  await testDatabase.drop();
});

/** One that has a connection, so that nobody waits for it. */
async function open(options: Partial<DatabaseOptions> = {}): Promise<Database> {
  const database = openDatabase({
    url: testDatabase.appUrl,
    poolSize: 1,
    log,
    slowQueryMs: 5_000,
    ...options,
  });
  opened.push(database);
  await database.ping();
  return database;
}

const requestTemplate = { name: "request", kind: SpanKind.SERVER, attributes: {} };
const query = (text: string) => ({ text, values: [], operation: "look", table: "users" }) as const;
const users = (tx: TenantTransaction) => tx.selectFrom("users").select(["id", "name"]);
const named = async (name: string) => (await traces.spans()).find((span) => span.name === name);
/** How long it took, in milliseconds; of one statement in several traces the same. */
const msOf = ({ startTime: [s, ns], endTime: [endS, endNs] }: RecordedSpan): number =>
  (endS - s) * 1e3 + (endNs - ns) / 1e6;
// A wait of this machine for its connection is noticeable at times.
const tree = async () => drawTree(await traces.spans()).filter((line) => line.trim() !== "pool.wait");
/** The reason for which a trace is kept that chance has not chosen. */
async function keepReasonAfter(work: () => Promise<unknown>): Promise<string | undefined> {
  traces = recordTraces(0);
  return inTrace(traces, async () => {
    await work().catch(() => {});
    const span = currentContext()?.span;
    return span instanceof Span ? span.trace.keepReason : "no span";
  });
}

test("a query is a span under that of the request, with what the conventions ask for and neither text nor values", async () => {
  const database = await open();
  await inTrace(traces, () =>
    database.run({ ...query("select $1::text as secret"), values: ["s3cr3t"], name: "look" }),
  );
  expect(await tree()).toEqual(["request", "  look users"]);
  const span = await named("look users");
  const { hostname, port } = new URL(testDatabase.appUrl);
  expect(span?.kind).toBe(SpanKind.CLIENT);
  expect(span?.attributes).toEqual({
    "db.system.name": "postgresql",
    "db.namespace": `${testDatabase.databaseName}|public`,
    "db.operation.name": "look",
    "db.collection.name": "users",
    "server.address": hostname,
    "server.port": Number(port),
  });
  expect(span?.status.code).toBe(SpanStatusCode.UNSET);
});

test("a transaction is a span with its statements, those around them included", async () => {
  const database = await open();
  await inTrace(traces, () => database.inTenant(tenantId, (tx) => users(tx).execute()));
  expect(await tree()).toEqual([
    "request",
    "  transaction",
    "    BEGIN",
    "    SET",
    "    SELECT users",
    "    COMMIT",
  ]);
  expect((await named("transaction"))?.attributes).toMatchObject({
    "ectus.transaction.outcome": "committed",
  });
  expect((await named("COMMIT"))?.attributes).not.toHaveProperty("db.collection.name");
});

test("a transaction that is rolled back says so and is no fault, and one that could not commit has failed", async () => {
  const database = await open();
  const changed = inTrace(traces, () => database.inTenant(tenantId, () => Promise.reject(new Error("no"))));
  await expect(changed).rejects.toThrow("no");
  expect(await tree()).toEqual(["request", "  transaction", "    BEGIN", "    SET", "    ROLLBACK"]);
  const rolledBack = await named("transaction");
  expect(rolledBack?.attributes).toMatchObject({ "ectus.transaction.outcome": "rolled_back" });
  expect(rolledBack?.status.code).toBe(SpanStatusCode.UNSET);
  traces = recordTraces();
  const failed = inTrace(traces, () =>
    database.inTenant(tenantId, (tx) => sql`select 1 / 0`.execute(tx).catch(() => {})),
  );
  await expect(failed).rejects.toThrow("rolled back instead of committed");
  expect((await named("transaction"))?.status.code).toBe(SpanStatusCode.ERROR);
});

test("without a request nothing is recorded", async () => {
  const database = await open();
  await runInContext({ correlationId: "c", requestId: "r" }, () => database.ping());
  await database.ping();
  expect(await traces.spans()).toEqual([]);
});

test("without instruments and threshold statements are in traces all the same", async () => {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log });
  opened.push(database);
  await inTrace(traces, () => database.ping());
  expect(await tree()).toEqual(["request", "  ping"]);
});

test("a statement that fails has our reason and the server's code", async () => {
  const database = await open();
  await inTrace(traces, () => database.run(query("select 1 / 0")).catch(() => {}));
  const span = await named("look users");
  expect(span?.status).toEqual({ code: SpanStatusCode.ERROR });
  expect(span?.attributes).toMatchObject({
    "error.type": "invalid_data",
    "db.response.status_code": "22012",
  });
  expect(JSON.stringify(span?.events)).not.toContain("division");
});

test.each([
  ["select 1 / 0", "error"],
  ["selct 1", "error"],
  ["do $$ begin raise sqlstate '40P01'; end $$", "error"],
  ["do $$ begin raise sqlstate '53200'; end $$", "error"],
  ["do $$ begin raise sqlstate '40001'; end $$", undefined],
  ["do $$ begin raise sqlstate '23505'; end $$", undefined],
  ["do $$ begin raise sqlstate '23503'; end $$", undefined],
  ["do $$ begin raise sqlstate '57014'; end $$", undefined],
  ["select 1", undefined],
  ["select pg_sleep(0.2)", "slow"],
])("whether %s has its trace kept: %s", async (text, reason) => {
  const database = await open({ slowQueryMs: 150 });
  expect(await keepReasonAfter(() => database.run(query(text)))).toBe(reason);
  expect((await traces.spans()).length > 0).toBe(reason !== undefined);
});

test("a statement that the server ends for its length, and one whose connection breaks, have their traces kept", async () => {
  const impatient = await open({ statementTimeoutMs: 50 });
  expect(await keepReasonAfter(() => impatient.run(query("select pg_sleep(5)")))).toBe("error");
  expect((await named("look users"))?.attributes).toMatchObject({ "error.type": "timeout" });
  const database = await open();
  const broken = () =>
    database.inTenant(tenantId, async (tx) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx);
      await owner.query("select pg_terminate_backend($1, 5000)", [rows[0]?.pid]);
      await users(tx).execute();
    });
  expect(await keepReasonAfter(broken)).toBe("error");
  expect(await tree()).toEqual([
    "request",
    "  transaction",
    "    BEGIN",
    "    SET",
    "    raw",
    "    SELECT users",
  ]);
  expect((await named("transaction"))?.attributes).toMatchObject({ "error.type": "failed" });
  expect((await named("SELECT users"))?.attributes).toMatchObject({ "error.type": "connection" });
});

test("the exemplar of a slow or failed statement leads to its trace, though chance had not chosen it", async () => {
  const registry = new Registry();
  const database = await open({ instruments: createInstruments(registry), slowQueryMs: 50 });
  traces = recordTraces(0);
  await inTrace(traces, () => database.run(query("select 1")));
  await inTrace(traces, () => database.run(query("select pg_sleep(0.1)")));
  await inTrace(traces, () => database.run(query("selct 1")).catch(() => {}));
  const ids = [...new Set((await traces.spans()).map((span) => span.spanContext().traceId))];
  expect(ids).toHaveLength(2);
  expect(exemplarsOf(registry, "db_slow_queries_total")).toEqual([{ trace_id: ids[0] }]);
  expect(exemplarsOf(registry, "db_query_errors_total")).toEqual([{ trace_id: ids[1] }]);
  expect(exemplarsOf(registry, "db_query_duration_seconds").map(({ trace_id }) => trace_id)).toEqual(
    expect.arrayContaining(ids),
  );
});

test("a noticeable wait for a connection is a span, and who waits in vain is kept", async () => {
  const database = await open({ connectTimeoutMs: 300 });
  const sleeping = database.run(query("select pg_sleep(0.15)"));
  await inTrace(traces, () => database.ping());
  await sleeping;
  expect(drawTree(await traces.spans())).toEqual(["request", "  pool.wait", "  ping"]);
  const long = database.run(query("select pg_sleep(0.6)"));
  expect(await keepReasonAfter(() => database.ping())).toBe("error");
  await long;
  expect((await named("pool.wait"))?.attributes).toMatchObject({ "error.type": "pool_exhausted" });
});

test("a cursor and a COPY are spans from their start to their end, under the transaction, whoever reads them", async () => {
  const database = await open();
  const other = recordTraces();
  await inTrace(traces, () =>
    database.inTenant(tenantId, async (tx) => {
      for await (const _ of users(tx).stream(10));
      const copy = await database.copyOut(tx, { text: "copy (select 1) to stdout", table: "none" });
      await inTrace(other, async () => {
        for await (const _ of copy);
      });
    }),
  );
  expect(await tree()).toEqual([
    "request",
    "  transaction",
    "    BEGIN",
    "    SET",
    "    cursor users",
    "    SET",
    "    COPY",
    "    COMMIT",
  ]);
  expect(drawTree(await other.spans())).toEqual(["request"]);
});

test("a cursor that its reader leaves has failed, and keeps no trace", async () => {
  const database = await open();
  const leave = () =>
    database.inTenant(tenantId, async (tx) => {
      for await (const _ of users(tx).stream(10)) break;
    });
  await inTrace(traces, leave);
  expect((await named("cursor users"))?.attributes).toMatchObject({ "error.type": "abandoned" });
  expect(await keepReasonAfter(leave)).toBeUndefined();
});

test("a statement that requests share is in the trace of each, and in no other", async () => {
  const registry = new Registry();
  const database = await open({ instruments: createInstruments(registry) });
  const spans = [1, 2].map(() => traces.tracing.beginTrace(requestTemplate));
  const other = recordTraces();
  await inTrace(other, () => database.run({ ...query("select 1"), sharedBy: [...spans, undefined] }));
  for (const span of spans) span?.end();
  const shared = (await traces.spans()).filter(({ name }) => name === "look users");
  expect(shared.map((span) => span.parentSpanContext?.spanId)).toEqual(spans.map((span) => span?.spanId));
  const [oneMs = 0, otherMs = 1] = shared.map(msOf);
  expect(oneMs).toBeCloseTo(otherMs, 2);
  for (const { attributes } of shared) expect(attributes).toMatchObject({ "db.operation.batch.size": 3 });
  expect(drawTree(await other.spans())).toEqual(["request"]);
  expect(exemplarsOf(registry, "db_query_duration_seconds")).toEqual([{ trace_id: spans[0]?.traceId }]);
});

test.each([
  ["fails", "select 1 / 0", "error"],
  ["is slow", "select pg_sleep(0.1)", "slow"],
])("of requests that share a statement that %s one that is not over is kept", async (_, text, reason) => {
  const registry = new Registry();
  const database = await open({ instruments: createInstruments(registry), slowQueryMs: 50 });
  traces = recordTraces(0);
  const spans = [1, 2, 3].map(() => traces.tracing.beginTrace(requestTemplate));
  spans[0]?.end();
  await database.run({ ...query(text), sharedBy: [undefined, ...spans] }).catch(() => {});
  expect(spans.map((span) => span?.trace.keepReason)).toEqual([undefined, reason, undefined]);
  expect(exemplarsOf(registry, "db_query_duration_seconds")).toEqual([{ trace_id: spans[1]?.traceId }]);
});

test("of requests that wait in vain for one connection one is kept", async () => {
  const database = await open({ connectTimeoutMs: 1_000 });
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const long = database.inTenant(tenantId, () => {
    begun.resolve();
    return gate.promise;
  });
  await begun.promise;
  traces = recordTraces(0);
  const spans = [1, 2].map(() => traces.tracing.beginTrace(requestTemplate));
  await expect(database.run({ ...query("select 1"), sharedBy: spans }).finally(gate.resolve)).rejects.toThrow(
    "busy",
  );
  expect(spans.map((span) => span?.trace.keepReason)).toEqual(["error", undefined]);
  await long;
});

test("the line of a slow statement that requests share leads to one of their traces", async () => {
  const database = await open({ slowQueryMs: 50 });
  const span = recordTraces(0).tracing.beginTrace(requestTemplate);
  await database.run({ ...query("select pg_sleep(0.1)"), operation: "shared", sharedBy: [span] });
  expect(lines.find(({ operation }) => operation === "shared")).toMatchObject({ traceId: span?.traceId });
  expect(span?.isKept).toBe(true);
});

test.each([
  ["select pg_sleep(0.1)", "slow"],
  ["select 1 / 0", "error"],
  ["select 1", undefined],
])("within a batch %s is no span, and has its trace kept: %s", async (text, reason) => {
  const database = await open({ slowQueryMs: 50 });
  const batch = { name: "batch", kind: SpanKind.INTERNAL, attributes: {} };
  const work = () => runBatch(batch, () => database.run(query(text)));
  expect(await keepReasonAfter(work)).toBe(reason);
  const expected = reason === undefined ? [] : ["request", "  batch"];
  expect(await tree()).toEqual(expected);
});

test("requests that use one connection after another each record their own statements", async () => {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log, slowQueryMs: 0 });
  opened.push(database);
  // The first makes the connection; the last two wait for it.
  await inTrace(traces, () => database.run(query("select 1")), "a");
  await Promise.all(
    ["b", "c"].map((id) =>
      inTrace(traces, () => database.run({ ...query("select 1"), operation: id, table: "none" }), id),
    ),
  );
  const spans = await traces.spans();
  const traceOf = (name: string) => spans.find((span) => span.name === name)?.spanContext().traceId;
  expect(new Set(["look users", "b", "c"].map(traceOf)).size).toBe(3);
  expect(spans.filter(({ name }) => name === "request")).toHaveLength(3);
  const slow = lines.filter(({ msg, operation }) => msg === "slow statement" && operation !== "ping");
  const told = slow
    .slice(-3)
    .map(({ operation, correlationId, traceId }) => [operation, correlationId, traceId]);
  expect(told).toEqual([
    ["look", "a", traceOf("look users")],
    ["b", "b", traceOf("b")],
    ["c", "c", traceOf("c")],
  ]);
});

test("a connection does not keep the request alive that it was made for", async () => {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log, slowQueryMs: 5_000 });
  opened.push(database);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const ask = async (): Promise<WeakRef<RequestContext>> => {
    const context = { correlationId: "c", requestId: "r", span: traces.tracing.beginTrace(requestTemplate) };
    await runInContext(context, () => database.ping());
    return new WeakRef(context);
  };
  const context = await ask();
  await until(() => {
    collect();
    return context.deref() === undefined;
  });
  // The connection is still there.
  const { rows } = await owner.query(
    "select from pg_stat_activity where datname = current_database() and application_name = 'ectus'",
  );
  expect(rows).toHaveLength(1);
});

test("a socket's folder is an address without a port", () => {
  const attributes = databaseAttributes({ host: "/run/postgresql", port: 5432, database: "ectus" });
  expect(attributes).toEqual({
    "db.system.name": "postgresql",
    "db.namespace": "ectus|public",
    "server.address": "/run/postgresql",
  });
});

test.each([
  ["select", "tenants", "SELECT tenants"],
  ["insert", "usage", "INSERT usage"],
  ["copy", "none", "COPY"],
  ["find_api_key", "api_keys", "find_api_key api_keys"],
  ["job", "jobs", "job jobs"],
  ["ping", "none", "ping"],
] as const)("%s of %s is called %s", (operation, table, name) => {
  expect(statementTemplate({ operation, table }, {}).name).toBe(name);
});
