// Workers that are killed, in whatever phase an export is: another one takes it up, and the bag is whole.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createSigningKey, openBag, verifyBag } from "@ectus/bag";
import { type ExportRow, findExport } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
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

async function startWorker(bytesPerSecond: number): Promise<WorkerProcess> {
  const worker = await startWorkerProcess({ database: opened, storageUrl, signingKey: seed, bytesPerSecond });
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
