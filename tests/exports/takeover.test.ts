// What becomes of an export that its worker loses: by its end, by a pause, by a version that does not fit; what the tenant
// is told when it is given up, and what scrapes and stops see of all that.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EctusError } from "@ectus/core";
import {
  claimExport,
  type Database,
  type ExportRow,
  type ExportWorker,
  findExport,
  leaveExport,
  openDatabase,
  startExportWorker,
} from "@ectus/database";
import { Registry } from "@ectus/metrics";
import { createInstruments, noInstruments } from "@ectus/monitoring";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { samplesOf } from "../postgres/measured.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { startStallingProxy } from "../postgres/stalling-proxy.ts";
import { until } from "../postgres/until.ts";
import { askForExport, signingKey } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let opened: OpenTestDatabase;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;
const workers: ExportWorker[] = [];
const databases: Database[] = [];

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-takeover-"));
  storage = await openStorage(pathToFileURL(folder).href);
  tenant = await seedTenant(opened.owner, storage, { completions: 50, files: 2 });
});
beforeEach(async () => {
  await opened.owner.query("delete from exports");
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  for (const database of databases.splice(0)) await database.close();
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});

type Options = Partial<Parameters<typeof startExportWorker>[0]>;

async function startWorker(options: Options = {}, url = opened.appUrl) {
  const { log, lines } = recordingLog();
  const { instruments = noInstruments } = options;
  const database = openDatabase({ url, poolSize: 3, log, instruments });
  databases.push(database);
  const worker = await startExportWorker({
    database,
    storage,
    signingKey,
    software: "tests",
    log,
    concurrency: 2,
    bytesPerSecond: 0,
    ttlMs: 60_000,
    partBytes: 20_000,
    retryPauseMs: 1,
    pollMs: 20,
    ...options,
  });
  workers.push(worker);
  const said = (text: string): number => lines.filter(({ msg }) => String(msg).startsWith(text)).length;
  return { worker, lines, said };
}

const ask = (tenantId = tenant.id): Promise<ExportRow> => askForExport(opened.database, tenantId);

async function stateOf({ tenant_id, id }: ExportRow): Promise<ExportRow> {
  const row = await findExport(opened.database, tenant_id, id);
  if (row === undefined) throw new Error("the export is gone");
  return row;
}

const reaches = (row: ExportRow, state: ExportRow["state"]): Promise<void> =>
  until(async () => (await stateOf(row)).state === state, 20_000);

/** A storage that fails what is read from it, and so the copies of files. */
const failingWith = (error: () => Error): BlobStorage => ({
  ...storage,
  read: async () => {
    throw error();
  },
});

/** A storage whose writes do not end until they are given up. */
const hanging = (): BlobStorage => ({
  ...storage,
  write: (_tenantId, _blobId, _source, { signal }) =>
    new Promise((_, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    }),
});

const limits = { most: 2, mostOfTenant: 1, leaseMs: 60_000 };
const someWorker = "00000000-0000-4000-8000-000000000001";

async function claim() {
  const found = await claimExport(opened.database, someWorker, limits);
  if (found === undefined) throw new Error("nothing to claim");
  return found.claim;
}

/** As a worker that is killed, or that its machine held still. */
const endLease = () => opened.owner.query("update exports set lease_until = now() where state = 'running'");

describe("an export", () => {
  test("whose worker takes it up itself once more, having given no sign in time, is left when that stops", async () => {
    const { worker, said } = await startWorker({ storage: hanging() });
    const asked = await ask();
    await until(async () => (await stateOf(asked)).phase === "tables");
    await endLease();
    await until(async () => (await stateOf(asked)).attempt === 2);
    await until(() => said("export deleted, or taken over") === 1);
    await worker.stop();
    expect(said("export left to another worker")).toBeGreaterThan(0);
    expect(await stateOf(asked)).toMatchObject({ state: "queued", worker_id: null });
  });

  test("that kills whoever takes it up is given up in the end, and says so", async () => {
    const asked = await ask();
    for (let died = 0; died < 10; died += 1) {
      await claim();
      await endLease();
    }
    const registry = new Registry();
    await startWorker({ instruments: createInstruments(registry) });
    await reaches(asked, "failed");
    expect(await stateOf(asked)).toMatchObject({
      error_code: "export_incomplete",
      error_message: expect.stringContaining("interrupted 10 times"),
    });
    expect(samplesOf(registry, "export_jobs_total")).toContainEqual(
      expect.objectContaining({ labels: { outcome: "failed" }, value: 1 }),
    );
  });

  test("that many workers left because they were stopped is not given up", async () => {
    const asked = await ask();
    for (let stopped = 0; stopped < 12; stopped += 1) await leaveExport(opened.database, await claim(), 0);
    await startWorker();
    await reaches(asked, "ready");
    expect((await stateOf(asked)).attempt).toBe(13);
  });

  test("that pauses does not keep others waiting, nor does its tenant's next one wait for it", async () => {
    const first = await ask();
    await leaveExport(opened.database, await claim(), 60_000);
    const second = await ask();
    await startWorker({ concurrency: 1 });
    await reaches(second, "ready");
    expect(await stateOf(first)).toMatchObject({ state: "running", phase: "waiting", attempt: 1 });
  });

  test("that is interrupted again pauses for longer", async () => {
    const failing = failingWith(() => new EctusError("storage_error", { reason: "a moment's trouble" }));
    await startWorker({ storage: failing, retryPauseMs: 60_000 });
    const asked = await ask();
    const pauseAfter = async (attempt: number): Promise<number> => {
      await until(async () => {
        const row = await stateOf(asked);
        return row.attempt === attempt && row.worker_id === null;
      });
      return ((await stateOf(asked)).lease_until?.getTime() ?? 0) - Date.now();
    };
    const first = await pauseAfter(1);
    expect(first).toBeGreaterThan(50_000);
    expect(first).toBeLessThan(70_000);
    await endLease();
    const second = await pauseAfter(2);
    expect(second).toBeGreaterThan(110_000);
    expect(second).toBeLessThan(130_000);
  });

  test("that a worker of another version cannot make waits for one that can", async () => {
    const asked = await ask();
    await opened.owner.query("alter table users add column added_by_a_later_version text");
    try {
      const { said } = await startWorker();
      await until(() => said("export interrupted") > 0);
    } finally {
      await opened.owner.query("alter table users drop column added_by_a_later_version");
    }
    await reaches(asked, "ready");
  });
});

describe("the tenant of an export that is given up is told nothing of the machinery when", () => {
  test.each<[string, () => Error, string]>([
    [
      "the storage fails",
      () => new EctusError("storage_error", { reason: "EACCES: permission denied, open '/srv/blobs/x'" }),
      "storage_error",
    ],
    [
      "the database fails",
      () =>
        new EctusError("database_unavailable", { reason: "All 10 connections to db-3.internal are busy" }),
      "database_unavailable",
    ],
    ["the program fails", () => new TypeError("db-3.internal: /srv/blobs"), "internal_error"],
  ])("%s", async (_, error, code) => {
    await startWorker({ storage: failingWith(error) });
    const asked = await ask();
    await reaches(asked, "failed");
    const row = await stateOf(asked);
    expect(row.error_code).toBe(code);
    expect(row.error_message).not.toMatch(/srv|db-3|10 connections/);
    // It has no request to name.
    expect(row.error_message).not.toContain("request id");
  });

  test("the database is not as the data map has it", async () => {
    const asked = await ask();
    await opened.owner.query("alter table users add column internal_name text");
    try {
      await startWorker();
      await reaches(asked, "failed");
    } finally {
      await opened.owner.query("alter table users drop column internal_name");
    }
    const row = await stateOf(asked);
    expect(row.error_code).toBe("data_map_mismatch");
    expect(row.error_message).not.toContain("internal_name");
  });
});

test("a database that does not answer keeps neither a scrape waiting nor the stop of a worker", async () => {
  const proxy = await startStallingProxy(opened.appUrl);
  const registry = new Registry();
  try {
    const { worker } = await startWorker(
      { storage: hanging(), instruments: createInstruments(registry) },
      proxy.through(opened.appUrl),
    );
    const asked = await ask();
    await until(async () => (await stateOf(asked)).phase === "tables");
    proxy.stall();
    const stalledAt = performance.now();
    const text = await registry.metrics();
    expect(performance.now() - stalledAt).toBeLessThan(5_000);
    expect(text).toContain("export_jobs_active 1\n");
    expect(text).not.toContain("export_oldest_running_seconds ");
    const stoppedAt = performance.now();
    await worker.stop();
    expect(performance.now() - stoppedAt).toBeLessThan(15_000);
  } finally {
    await proxy.close();
  }
}, 60_000);

test("the connections of its snapshot do not count as the pool's", async () => {
  const registry = new Registry();
  await startWorker({ storage: hanging(), instruments: createInstruments(registry), pollMs: 60_000 });
  const asked = await ask();
  await until(async () => (await stateOf(asked)).phase === "tables");
  const { rows } = await opened.owner.query(
    "select application_name as name, count(*)::int from pg_stat_activity where datname = current_database() group by 1",
  );
  expect(rows).toContainEqual({ name: "ectus-export", count: 2 });
  const totalOf = (name: string): number =>
    samplesOf(registry, name).reduce((sum, { value }) => sum + value, 0);
  expect(totalOf("db_pool_size")).toBe(3);
  expect(totalOf("db_pool_connections")).toBeLessThanOrEqual(3);
  expect(totalOf("db_pool_utilization_ratio")).toBeLessThanOrEqual(1);
  expect(totalOf("db_pool_waiting")).toBe(0);
});
