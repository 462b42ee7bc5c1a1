// Runs `ectus worker` in this process: beside an instance and its embedded database, and on a test database.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findRunningPostgres } from "@ectus/database";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startUpstream, type Upstream } from "../../../../tests/openai-upstream/upstream.ts";
import { createTestDatabase } from "../../../../tests/postgres/test-database.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { readCredentials } from "../credentials-file.ts";
import { postgresFolder } from "../open-postgres.ts";
import { runProgram } from "../program.ts";
import { type RecordedContext, recordContext, runRecorded } from "../recorded-context.ts";

let folder: string;
let upstream: Upstream;
let providers: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-worker-"));
  upstream = await startUpstream();
  providers = join(folder, "providers.yaml");
  await writeFile(
    providers,
    `providers:\n  double: { type: openai, baseUrl: "${upstream.baseUrl}" }\nmodels:\n  double: { operations: [chat], routes: [{ provider: double, model: double }] }\n`,
  );
});
afterAll(async () => {
  await upstream.close();
  await rm(folder, { recursive: true });
});

interface Running extends RecordedContext {
  readonly ended: Promise<number>;
  stop(): Promise<number>;
}

const running: Running[] = [];
afterEach(async () => {
  for (const process of running.splice(0).reverse()) await process.stop();
});

/** Starts a command that goes on until it is stopped, and waits until it has printed its object. */
async function start(environment: Record<string, string>, ...args: string[]): Promise<Running> {
  const recorded = recordContext({ HOST: "127.0.0.1", ...environment });
  const ended = runProgram([...args, "--json"], recorded.context);
  const process: Running = {
    ...recorded,
    ended,
    stop() {
      recorded.signal();
      return ended;
    },
  };
  running.push(process);
  await Promise.race([
    recorded.printed('"data_dir"'),
    ended.then((code) => Promise.reject(new Error(`ended with ${code}: ${recorded.err()}`))),
  ]);
  return process;
}

test("beside an instance that runs none it makes its exports, from the same folder and database", async () => {
  const dataDir = join(folder, "beside");
  const environment = { DATA_DIR: dataDir, PORT: "0", AI_PROVIDERS: providers, EXPORTS_ENABLED: "false" };
  const up = await start(environment, "up");
  const worker = await start({ DATA_DIR: dataDir }, "worker");
  const { metricsUrl, ...said } = JSON.parse(worker.out());
  expect(said).toEqual({ object: "worker", database: "running", data_dir: dataDir });

  // The keys are in the folder.
  const args = ["export", "create", "--download", join(folder, "bag.tar"), "--json"];
  const { code, out } = await runRecorded({ DATA_DIR: dataDir }, ...args);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({
    state: "ready",
    download: { report: { ok: true, signature: { state: "valid" } } },
  });
  expect(await (await fetch(metricsUrl)).text()).toContain('export_jobs_total{outcome="ready"} 1\n');

  // The operator's key is there, too.
  const list = await runRecorded({ DATA_DIR: dataDir }, "export", "list", "--tenant", "Demo", "--json");
  expect(JSON.parse(list.out).data).toHaveLength(1);
  const credentials = await readCredentials(join(dataDir, "credentials.json"));
  const metrics = await (await fetch(credentials?.metricsUrl ?? "")).text();
  expect(metrics).not.toContain('export_jobs_total{outcome="ready"} 1\n');
  // Whether there is a worker or not, somebody tells for how long exports wait.
  expect(metrics).toContain("export_oldest_running_seconds 0\n");

  // A worker whose database goes away ends, and says why.
  expect(await up.stop()).toBe(0);
  expect(await worker.ended).toBe(1);
  expect(worker.err()).toContain("the instance that it belongs to has stopped");
}, 90_000);

test("with no instance it has the embedded database itself, and stops it at its end", async () => {
  const dataDir = join(folder, "alone");
  const worker = await start({ DATA_DIR: dataDir }, "worker");
  expect(JSON.parse(worker.out())).toMatchObject({ database: "started" });
  expect(await findRunningPostgres(postgresFolder(dataDir))).toBeDefined();
  expect(await worker.stop()).toBe(0);
  expect(await findRunningPostgres(postgresFolder(dataDir))).toBeUndefined();
}, 60_000);

test("what it is at when it is stopped is left for another worker", async () => {
  const database = await createTestDatabase();
  const owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => database.drop());
  cleanUp.defer(() => owner.end());
  const environment = {
    DATABASE_URL: database.appUrl,
    DATABASE_OWNER_URL: database.ownerUrl,
    DATA_DIR: join(folder, "external"),
    // Slow enough to be stopped in the middle.
    EXPORT_BYTES_PER_SECOND: "100000",
  };
  const { out } = await runRecorded(environment, "tenant", "create", "Acme", "--json");
  const tenantId = JSON.parse(out).id;
  await owner.query(
    `insert into users (tenant_id, id, email, name)
     select $1, gen_random_uuid(), 'user' || n || '@example.com', repeat('x', 200) from generate_series(1, 5000) n`,
    [tenantId],
  );
  await owner.query(
    `insert into exports (tenant_id, id, created_by_type, row_format, compression, scope)
     values ($1, gen_random_uuid(), 'operator', 'ndjson', 'none', '{"tables":["users"],"files":false,"auditLog":false}')`,
    [tenantId],
  );
  const stateOf = async () => (await owner.query("select state, attempt, rows_done from exports")).rows[0];

  const first = await start(environment, "worker");
  expect(JSON.parse(first.out())).toMatchObject({ database: "external" });
  expect(first.err()).toContain("STORAGE_URL is unset");
  await until(async () => (await stateOf()).rows_done > 0);
  expect(await first.stop()).toBe(0);
  expect(await stateOf()).toMatchObject({ state: "queued", attempt: 1 });

  const second = await start({ ...environment, EXPORT_BYTES_PER_SECOND: "0" }, "worker");
  await until(async () => (await stateOf()).state === "ready");
  expect(await stateOf()).toMatchObject({ attempt: 2, rows_done: "5000" });
  expect(await second.stop()).toBe(0);
}, 60_000);

test("a stop while it starts gives the start up", async () => {
  const recorded = recordContext({ DATA_DIR: join(folder, "given-up"), HOST: "127.0.0.1" });
  const ended = runProgram(["worker", "--json"], recorded.context);
  await recorded.printed("made a PostgreSQL cluster");
  recorded.signal();
  expect(await ended).toBe(0);
  expect(recorded.out()).toBe("");
  expect(await findRunningPostgres(postgresFolder(join(folder, "given-up")))).toBeUndefined();
});

test("a database that cannot be reached is said, with code 1", async () => {
  const { code, err } = await runRecorded(
    { DATABASE_URL: "postgres://nobody:secret@127.0.0.1:1/none", DATA_DIR: join(folder, "unreachable") },
    "worker",
    "--json",
  );
  expect(code).toBe(1);
  expect(err).toContain("127.0.0.1:1/none");
  expect(err).not.toContain("secret");
});
