// Workers that are killed, in whatever phase an export is: another one takes it up, and the bag is whole.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createSigningKey, openBag, verifyBag } from "@ectus/bag";
import { type ExportRow, findExport } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { type StallingProxy, startStallingProxy } from "../postgres/stalling-proxy.ts";
import type { TestDatabase } from "../postgres/test-database.ts";
import { until } from "../postgres/until.ts";
import { readBag, readRows, writeBag } from "./read-bag.ts";
import { askForExport } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";
import { startWorkerProcess, type WorkerProcess } from "./start-worker.ts";

const seed = randomBytes(32).toString("base64url");
let opened: OpenTestDatabase;
let storage: BlobStorage;
let storageUrl: string;
let folder: string;
let tenant: SeededTenant;
const workers: WorkerProcess[] = [];

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-kill-"));
  storageUrl = pathToFileURL(join(folder, "storage")).href;
  storage = await openStorage(storageUrl);
  tenant = await seedTenant(opened.owner, storage, { completions: 600, files: 6 });
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.kill();
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  await opened.owner.query("delete from exports");
});

async function startWorker(bytesPerSecond: number, database: TestDatabase = opened): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({ database, storageUrl, signingKey: seed, bytesPerSecond });
  workers.push(worker);
  return worker;
}

async function stateOf({ id }: ExportRow): Promise<ExportRow | undefined> {
  return findExport(opened.database, tenant.id, id);
}

async function expectWhole({ id }: ExportRow): Promise<void> {
  const bag = join(folder, id);
  const files = await readBag(opened.database, storage, tenant.id, id);
  await writeBag(files, bag);
  await using source = await openBag(bag);
  const report = await verifyBag(source, {
    keys: [createSigningKey(seed).publicKey],
    signal: new AbortController().signal,
  });
  expect(report.faults).toEqual([]);
  expect(report.signature.state).toBe("valid");
  expect(readRows(files, "data/tables/messages/")).toHaveLength(2_400);
  expect(report.document?.files).toHaveLength(6);
}

const exists = async (query: string): Promise<boolean> => (await opened.owner.query(query)).rowCount !== 0;
const partOf = (condition: string) => () => exists(`select from export_parts where ${condition}`);

test.each<[string, () => Promise<boolean>]>([
  ["takes its snapshot", () => exists("select from exports where state = 'running'")],
  ["reads tables", partOf("source = 'completions'")],
  ["is between two parts of a table", partOf("source = 'messages' or source = 'usage'")],
  ["reads the audit log", partOf("source = 'audit_log'")],
  ["copies files", partOf("kind = 'file'")],
  ["seals the bag", partOf("path = 'manifest-sha256.txt'")],
])(
  "an export whose worker is killed while it %s is finished by another",
  async (_, isThere) => {
    const first = await startWorker(1_500_000);
    const asked = await askForExport(opened.database, tenant.id);
    await until(isThere, 20_000, 1);
    process.kill(first.pid, "SIGKILL");
    await first.kill();
    const left = await stateOf(asked);
    expect(left).toMatchObject({ state: "running", attempt: 1 });
    // Its lease would last for half a minute.
    await opened.owner.query("update exports set lease_until = now()");
    await startWorker(0);
    await until(async () => (await stateOf(asked))?.state === "ready", 30_000);
    expect((await stateOf(asked))?.attempt).toBe(2);
    await expectWhole(asked);
  },
  90_000,
);

test("a worker that is stopped leaves its export to another at once, and ends with 0", async () => {
  const first = await startWorker(200_000);
  const asked = await askForExport(opened.database, tenant.id);
  await until(partOf("source = 'completions'"), 20_000);
  expect(await first.stop()).toBe(0);
  expect(await stateOf(asked)).toMatchObject({ state: "queued" });
  await startWorker(0);
  await until(async () => (await stateOf(asked))?.state === "ready", 30_000);
  await expectWhole(asked);
}, 90_000);

test("a worker that its machine held still for longer than its lease does no harm when it goes on", async () => {
  const before = new Set(await Array.fromAsync(storage.list(tenant.id)));
  const first = await startWorker(200_000);
  const asked = await askForExport(opened.database, tenant.id);
  await until(partOf("source = 'completions'"), 20_000);
  process.kill(first.pid, "SIGSTOP");
  await opened.owner.query("update exports set lease_until = now()");
  await startWorker(400_000);
  await until(async () => (await stateOf(asked))?.attempt === 2, 20_000);
  process.kill(first.pid, "SIGCONT");
  await until(() => first.lines.some(({ msg }) => String(msg).startsWith("export deleted, or taken over")));
  await until(async () => (await stateOf(asked))?.state === "ready", 30_000);
  expect((await stateOf(asked))?.attempt).toBe(2);
  await expectWhole(asked);
  // Nor did it leave anything of its own.
  const { rows } = await opened.owner.query("select blob_id from export_parts where export_id = $1", [
    asked.id,
  ]);
  const added = (await Array.fromAsync(storage.list(tenant.id))).filter((blob) => !before.has(blob));
  expect(added.sort()).toEqual(rows.map(({ blob_id }) => blob_id).sort());
}, 90_000);

describe("a worker whose database goes away", () => {
  let proxy: StallingProxy;
  beforeEach(async () => {
    proxy = await startStallingProxy(opened.appUrl);
  });
  afterEach(() => proxy.close());
  const throughProxy = (): TestDatabase => ({
    ...opened,
    appUrl: proxy.through(opened.appUrl),
    ownerUrl: proxy.through(opened.ownerUrl),
  });

  test("while it waits looks for it until it is back, and takes up what came meanwhile", async () => {
    const worker = await startWorker(0, throughProxy());
    const before = proxy.connections;
    proxy.stall();
    proxy.cut();
    const asked = await askForExport(opened.database, tenant.id);
    await until(() => proxy.connections >= before + 3, 30_000);
    proxy.resume();
    await until(async () => (await stateOf(asked))?.state === "ready", 30_000);
    expect(await worker.stop()).toBe(0);
  }, 90_000);

  test("while it is at an export goes on with that when it is back", async () => {
    const worker = await startWorker(200_000, throughProxy());
    const asked = await askForExport(opened.database, tenant.id);
    await until(partOf("source = 'completions'"), 20_000);
    const before = proxy.connections;
    proxy.stall();
    proxy.cut();
    await until(() => proxy.connections >= before + 3, 30_000);
    proxy.resume();
    // Its lease, or the pause before the next attempt.
    await until(async () => (await stateOf(asked))?.attempt === 1, 5_000);
    await opened.owner.query("update exports set lease_until = now()");
    await until(async () => ((await stateOf(asked))?.attempt ?? 0) >= 2, 20_000);
    await until(async () => (await stateOf(asked))?.state === "ready", 60_000);
    await expectWhole(asked);
    expect(await worker.stop()).toBe(0);
  }, 120_000);

  test("without a word can be stopped", async () => {
    const worker = await startWorker(200_000, throughProxy());
    await askForExport(opened.database, tenant.id);
    await until(partOf("source = 'completions'"), 20_000);
    proxy.stall();
    const startedAt = performance.now();
    expect(await worker.stop()).toBe(0);
    // A statement that is under way has its time to be answered, and no more.
    expect(performance.now() - startedAt).toBeLessThan(45_000);
  }, 120_000);
});
