import { PgBoss } from "pg-boss";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { type Database, openDatabase } from "./database.ts";
import { type JobDefinition, type Jobs, jobSchema, startJobs } from "./jobs.ts";

const { log, lines } = recordingLog("jobs");
let testDatabase: TestDatabase;
const running: Jobs[] = [];
const databases: Database[] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
});
afterEach(async () => {
  for (const jobs of running.splice(0)) await jobs.stop();
  for (const database of databases.splice(0)) await database.close();
});
afterAll(() => testDatabase.drop());

function open(): Database {
  const database = openDatabase({ url: testDatabase.appUrl, poolSize: 4, log });
  databases.push(database);
  return database;
}

async function start(definition: Omit<JobDefinition, "cron"> & { cron?: string }): Promise<Jobs> {
  const jobs = await startJobs({
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
  const rows = await open().run<{ state: string }>({
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
