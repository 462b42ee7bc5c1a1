import { currentContext } from "@ectus/core";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { sql } from "kysely";
import { PgBoss } from "pg-boss";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { drawTree, inTrace, type RecordedSpan } from "../../../tests/monitoring/in-trace.ts";
import { recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Database, openDatabase, platformTenantId } from "./database.ts";
import { type JobDefinition, type Jobs, type JobsOptions, jobSchema, startJobs } from "./jobs.ts";

const { log, lines } = recordingLog("jobs");
let testDatabase: TestDatabase;
/** Looks at the queue's tables from outside. */
let watcher: Database;
const running: Jobs[] = [];
const databases: Database[] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  watcher = openDatabase({ url: testDatabase.appUrl, poolSize: 1, log });
});
afterEach(async () => {
  for (const jobs of running.splice(0)) await jobs.stop();
  for (const database of databases.splice(0)) await database.close();
});
afterAll(async () => {
  await watcher.close();
  await testDatabase.drop();
});

function open(): Database {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 4, log });
  databases.push(database);
  return database;
}

async function start(
  definition: Omit<JobDefinition, "cron"> & { cron?: string },
  options: Pick<JobsOptions, "tracing"> = {},
): Promise<Jobs> {
  const jobs = await startJobs({
    ...options,
    database: open(),
    // At a time that no test is likely to see.
    definitions: [{ cron: "0 4 29 2 *", ...definition }],
    log,
    pollSeconds: 0.5,
    retryDelaySeconds: 1,
  });
  running.push(jobs);
  return jobs;
}

const states = async (name: string): Promise<string[]> => {
  const rows = await watcher.run<{ state: string }>({
    text: `select state::text as state from ${jobSchema}.job where name = $1`,
    values: [name],
    operation: "test",
    table: "none",
  });
  return rows.map(({ state }) => state);
};

test("of two instances one runs a job that is due, and what it found is in the log", async () => {
  const ran: string[] = [];
  const define = (instance: string) => ({
    name: "count-rows",
    run: async () => {
      ran.push(instance);
      return { rows: 3 };
    },
  });
  const jobs = await start(define("a"));
  await start(define("b"));
  await jobs.trigger("count-rows");
  await until(() => lines.some(({ msg, job }) => msg === "job done" && job === "count-rows"));
  await until(async () => (await states("count-rows")).includes("completed"));
  expect(ran).toHaveLength(1);
  expect(lines.find(({ job }) => job === "count-rows")).toMatchObject({ rows: 3, level: "info" });
});

test("a job is scheduled by its cron expression in UTC, once for all instances", async () => {
  const define = { name: "nightly", cron: "5 3 * * *", run: async () => ({}) };
  await start(define);
  await start(define);
  const rows = await open().run({
    text: `select cron, timezone from ${jobSchema}.schedule where name = $1`,
    values: ["nightly"],
    operation: "test",
    table: "none",
  });
  expect(rows).toEqual([{ cron: "5 3 * * *", timezone: "UTC" }]);
});

test("a job that fails is in the log as an error and is tried again", async () => {
  let attempts = 0;
  const jobs = await start({
    name: "flaky",
    run: async () => {
      attempts++;
      if (attempts === 1) throw new Error("the first time goes wrong");
      return { attempts };
    },
  });
  await jobs.trigger("flaky");
  await until(() => lines.some(({ msg, job }) => msg === "job done" && job === "flaky"));
  expect(lines.find(({ msg, job }) => msg === "job failed" && job === "flaky")).toMatchObject({
    level: "error",
    err: { message: "the first time goes wrong" },
  });
  expect(attempts).toBe(2);
});

test("while a run waits, another is not queued behind it", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  let runs = 0;
  const jobs = await start({
    name: "slow",
    run: async () => {
      runs++;
      begun.resolve();
      await gate.promise;
      return {};
    },
  });
  await jobs.trigger("slow");
  await begun.promise;
  for (let i = 0; i < 5; i++) await jobs.trigger("slow");
  expect((await states("slow")).sort()).toEqual(["active", "created"]);
  gate.resolve();
  await until(async () => (await states("slow")).every((state) => state === "completed"));
  expect(runs).toBe(2);
});

test("stop lets a running job end and takes no more", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const jobs = await start({
    name: "long",
    run: async () => {
      begun.resolve();
      await gate.promise;
      return {};
    },
  });
  await jobs.trigger("long");
  await begun.promise;
  let stopped = false;
  const stopping = jobs.stop().then(() => {
    stopped = true;
  });
  await until(async () => (await states("long")).includes("active"));
  expect(stopped).toBe(false);
  gate.resolve();
  await stopping;
  expect(await states("long")).toEqual(["completed"]);
});

test("stop gives up on a job that does not end, after its grace", async () => {
  const begun = Promise.withResolvers<AbortSignal>();
  const jobs = await start({
    name: "endless",
    run: (signal) => {
      begun.resolve(signal);
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
    },
  });
  await jobs.trigger("endless");
  const signal = await begun.promise;
  await jobs.stop(1_000);
  expect(signal.aborted).toBe(true);
});

test("when the queue cannot be started, nothing of it keeps running", async () => {
  const database = open();
  const definitions = [{ name: "in valid!", cron: "* * * * *", run: async () => ({}) }];
  await expect(startJobs({ database, definitions, log })).rejects.toThrow();
  const notCron = [{ name: "valid", cron: "whenever", run: async () => ({}) }];
  await expect(startJobs({ database, definitions: notCron, log })).rejects.toThrow();
});

test("a fault of the queue is in the log as an error", async () => {
  const jobs = await start({ name: "any", run: async () => ({}) });
  await databases[0]?.close();
  databases.shift();
  await until(() => lines.some(({ msg }) => msg === "job queue failed"));
  await jobs.stop(1_000).catch(() => {});
  running.length = 0;
});

test("the application's role starts the queue without any right of an owner", async () => {
  const boss = new PgBoss({
    connectionString: testDatabase.appUrl,
    schema: jobSchema,
    migrate: false,
    supervise: false,
    schedule: false,
  });
  await boss.start();
  await expect(boss.createQueue("partitioned", { partition: true })).rejects.toThrow("permission denied");
  await boss.stop({ graceful: false });
});

const finished = (name: string) =>
  until(async () => (await states(name)).every((one) => one === "completed"));
const linesOf = (name: string) => lines.filter(({ job }) => job === name);
const spanOf = (spans: readonly RecordedSpan[], name: string) =>
  spans.filter((span) => span.name === `job ${name}`);

test("a run is a trace of its own, linked to the request that asked for it, with its ids on every line", async () => {
  const traces = recordTraces();
  const seen: unknown[] = [];
  const database = open();
  const run = async () => {
    await Promise.resolve();
    const { correlationId, requestId } = currentContext() ?? {};
    seen.push({ correlationId, requestId });
    await database.inTenant(platformTenantId, (tx) => sql`select 1`.execute(tx));
    return {};
  };
  const jobs = await start({ name: "linked", run }, traces);
  await inTrace(traces, () => jobs.trigger("linked"), "order-17");
  await finished("linked");
  expect(seen).toEqual([{ correlationId: "order-17", requestId: "order-17" }]);
  const spans = await traces.spans();
  const [job] = spanOf(spans, "linked");
  const request = spans.find(({ name }) => name === "request")?.spanContext();
  expect(job?.kind).toBe(SpanKind.CONSUMER);
  expect(job?.spanContext().traceId).not.toBe(request?.traceId);
  expect(job?.links.map(({ context: { traceId, spanId } }) => ({ traceId, spanId }))).toEqual([
    { traceId: request?.traceId, spanId: request?.spanId },
  ]);
  expect(job?.attributes).toEqual({
    "messaging.system.name": "pg-boss",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "linked",
    "messaging.message.id": expect.stringMatching(/^[\da-f-]{36}$/),
    "ectus.job.retry_count": 0,
  });
  const ofRun = spans.filter((span) => span.spanContext().traceId === job?.spanContext().traceId);
  expect(drawTree(ofRun).filter((line) => line.trim() !== "pool.wait")).toEqual([
    "job linked",
    "  transaction",
    "    BEGIN",
    "    SET",
    "    raw",
    "    COMMIT",
  ]);
  expect(linesOf("linked")).toMatchObject([
    {
      msg: "job done",
      correlationId: "order-17",
      requestId: "order-17",
      traceId: job?.spanContext().traceId,
      spanId: job?.spanContext().spanId,
    },
  ]);
});

test("a run that fails is kept, and the next try has the same ids and the same link", async () => {
  const traces = recordTraces(0);
  let traceId: string | undefined;
  let attempts = 0;
  const run = async () => {
    attempts++;
    if (attempts === 1) throw new RangeError("with a secret in it");
    if (attempts === 2) await open().run({ text: "selct", values: [], operation: "test", table: "none" });
    return {};
  };
  const jobs = await start({ name: "retried", run }, traces);
  const trigger = () => {
    traceId = currentContext()?.span?.traceId;
    return jobs.trigger("retried");
  };
  await inTrace(traces, trigger, "order-18");
  await finished("retried");
  expect(linesOf("retried").map(({ msg, correlationId }) => [msg, correlationId])).toEqual([
    ["job failed", "order-18"],
    ["job failed", "order-18"],
    ["job done", "order-18"],
  ]);
  const runs = spanOf(await traces.spans(), "retried");
  expect(runs.map(({ attributes }) => attributes["ectus.job.retry_count"])).toEqual([0, 1]);
  expect(runs.map(({ attributes }) => attributes["error.type"])).toEqual(["RangeError", "42601"]);
  expect(runs.map(({ status }) => status)).toEqual([
    { code: SpanStatusCode.ERROR },
    { code: SpanStatusCode.ERROR },
  ]);
  expect(runs.map(({ links }) => links.map(({ context }) => context.traceId))).toEqual([
    [traceId],
    [traceId],
  ]);
  expect(linesOf("retried")[0]?.traceId).toBe(runs[0]?.spanContext().traceId);
});

test("a run that another run asked for has the ids of the request behind both, and is linked to the other", async () => {
  const traces = recordTraces();
  const second = await start({ name: "second", run: async () => ({}) }, traces);
  const run = async () => {
    await second.trigger("second");
    return {};
  };
  const first = await start({ name: "first", run }, traces);
  await inTrace(traces, () => first.trigger("first"), "order-19");
  await finished("first");
  await finished("second");
  expect(linesOf("second")).toMatchObject([{ correlationId: "order-19", requestId: "order-19" }]);
  const spans = await traces.spans();
  const [link] = spanOf(spans, "second")[0]?.links ?? [];
  expect(link?.context.spanId).toBe(spanOf(spans, "first")[0]?.spanContext().spanId);
});

test("the run that a sampled request asked for is sampled, too", async () => {
  const traces = recordTraces(0);
  const jobs = await start({ name: "followed", run: async () => ({}) }, traces);
  await inTrace(recordTraces(), () => jobs.trigger("followed"));
  await finished("followed");
  expect(spanOf(await traces.spans(), "followed")).toHaveLength(1);
});

test("a run that nobody's request asked for has ids of its own, those of its trace", async () => {
  const traces = recordTraces();
  const jobs = await start({ name: "alone", run: async () => ({}) }, traces);
  await jobs.trigger("alone");
  await finished("alone");
  const [span] = spanOf(await traces.spans(), "alone");
  const id = `job_${span?.spanContext().traceId}`;
  expect(linesOf("alone")).toMatchObject([{ correlationId: id, requestId: id }]);
  expect(span?.links).toEqual([]);
});

test("without tracing a run has its ids all the same", async () => {
  const jobs = await start({ name: "untraced", run: async () => ({}) });
  await jobs.trigger("untraced");
  await finished("untraced");
  const [line] = linesOf("untraced");
  expect(line).toMatchObject({ correlationId: expect.stringMatching(/^job_[\da-f]{32}$/) });
  expect(line?.requestId).toBe(line?.correlationId);
});

test("what the queue itself asks of the database is in no trace but that of the request that triggers", async () => {
  const traces = recordTraces();
  const jobs = await start({ name: "quiet", run: async () => ({}) }, traces);
  await inTrace(traces, () => jobs.trigger("quiet"));
  await finished("quiet");
  const spans = await traces.spans();
  const parents = spans
    .filter(({ name }) => name === "job jobs")
    .map(({ parentSpanContext }) =>
      spans.find((one) => one.spanContext().spanId === parentSpanContext?.spanId),
    );
  expect(parents.length).toBeGreaterThan(0);
  expect(new Set(parents.map((parent) => parent?.name))).toEqual(new Set(["request"]));
});
