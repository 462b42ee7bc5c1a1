// PostgreSQL that ends the connections of an export, or is killed, in each phase: the export says so, and the next run ends
// with the whole bag.
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { openBag, verifyBag } from "@ectus/bag";
import { removeOrphans } from "@ectus/cli/maintenance-jobs";
import {
  type Database,
  type EmbeddedPostgres,
  findExport,
  listExportParts,
  openDatabase,
  type Snapshot,
  type SnapshotReader,
  startEmbeddedPostgres,
  startExportWorker,
} from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { app, owner, prepareTemplate, templateDatabase, urlAs } from "../postgres/template.ts";
import { until } from "../postgres/until.ts";
import { readBag, readRows, writeBag } from "./read-bag.ts";
import { askForExport, runNextExport, signingKey } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let folder: string;
let storage: BlobStorage;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-gone-"));
  storage = await openStorage(pathToFileURL(join(folder, "storage")).href);
});
afterAll(() => rm(folder, { recursive: true }));

const completions = 200;

async function expectWhole(database: Database, tenant: SeededTenant, id: string): Promise<void> {
  const files = await readBag(database, storage, tenant.id, id);
  const bag = join(folder, id);
  await writeBag(files, bag);
  await using source = await openBag(bag);
  const { signal } = new AbortController();
  const report = await verifyBag(source, { keys: [signingKey.publicKey], signal });
  expect(report.faults).toEqual([]);
  expect(report.document?.files).toHaveLength(tenant.fileIds.length);
  expect(readRows(files, "data/tables/messages/")).toHaveLength(completions * 4);
  const parts = await listExportParts(database, tenant.id, id);
  const known = [...tenant.fileIds, ...parts.map((part) => part.blob_id)];
  expect((await Array.fromAsync(storage.list(tenant.id))).toSorted()).toEqual(known.toSorted());
}

/** What an export is about to do when something befalls it. */
type Moment = (at: { readonly does: string; readonly with: string }) => boolean;

const moments: readonly [string, Moment][] = [
  ["counts rows", ({ does }) => does === "export_count"],
  ["reads the schema", ({ does }) => does === "read_schema" || does === "read_live_columns"],
  ["begins with a table", (at) => at.does === "copy" && at.with === "messages"],
  ["is in the middle of a table", (at) => at.does === "block" && at.with === "messages"],
  ["reads the audit log", (at) => at.does === "block" && at.with === "audit_log"],
  ["digests a part", ({ does }) => does === "export_digest"],
  ["copies a file", ({ does }) => does === "read file"],
  ["seals the bag", (at) => at.does === "select" && at.with === "schema_migrations"],
];

/** Does something once, when an export comes to a moment. */
function interrupting(database: Database, isNow: Moment, action: () => Promise<unknown>) {
  let isDone = false;
  const come = async (does: string, table: string): Promise<void> => {
    if (isDone || !isNow({ does, with: table })) return;
    isDone = true;
    await action();
  };
  const wrap = (reader: SnapshotReader): SnapshotReader => ({
    async query(query) {
      await come(query.operation, query.table);
      return reader.query(query);
    },
    async *copyRows(copy) {
      await come("copy", copy.table);
      let blocks = 0;
      for await (const block of reader.copyRows(copy)) {
        blocks += 1;
        if (blocks === 2 || copy.table === "audit_log") await come("block", copy.table);
        yield block;
      }
    },
  });
  const wrapped: Database = {
    ...database,
    inSnapshot: (options, work) =>
      database.inSnapshot(options, ({ takenAt, readers: [first, ...rest] }) => {
        const snapshot: Snapshot = { takenAt, readers: [wrap(first), ...rest.map(wrap)] };
        return work(snapshot);
      }),
  };
  const reading: BlobStorage = {
    ...storage,
    async read(...args) {
      await come("read file", "");
      return storage.read(...args);
    },
  };
  return { database: wrapped, storage: reading, wasDone: () => isDone };
}

describe("PostgreSQL that ends the connections of an export while it", () => {
  let opened: OpenTestDatabase;
  beforeAll(async () => {
    opened = await openTestDatabase();
  });
  afterAll(() => opened.close());
  beforeEach(() => opened.owner.query("delete from exports"));

  test.each(moments)("%s", async (_, isNow) => {
    const tenant = await seedTenant(opened.owner, storage, { completions });
    const asked = await askForExport(opened.database, tenant.id);
    const cut = interrupting(opened.database, isNow, async () => {
      const { rows } = await opened.owner.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'ectus-export'",
      );
      expect(rows).toHaveLength(2);
    });
    await expect(runNextExport(cut.database, cut.storage)).rejects.toMatchObject({
      code: "database_unavailable",
    });
    expect(cut.wasDone()).toBe(true);
    await opened.owner.query("update exports set lease_until = now()");
    expect(await runNextExport(opened.database, storage)).toBe(asked.id);
    await expectWhole(opened.database, tenant, asked.id);
  });
});

/** A port that is free, of a server that is started on it again and again. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

test("PostgreSQL that is killed again and again, and comes back, ends with the whole bag", async () => {
  const dataDir = join(folder, "postgres");
  const { log } = recordingLog();
  const port = await freePort();
  const start = (): Promise<EmbeddedPostgres> => startEmbeddedPostgres({ dataDir, log, port });
  let postgres = await start();
  try {
    await prepareTemplate(postgres.superuserUrl, log);
    const superuser = new pg.Client({ connectionString: postgres.superuserUrl });
    await superuser.connect();
    await superuser.query(`alter database ${templateDatabase} with allow_connections true`);
    await superuser.end();
    const ownerClient = new pg.Client(urlAs(postgres.superuserUrl, owner, templateDatabase));
    await ownerClient.connect();
    const tenant = await seedTenant(ownerClient, storage, { completions });
    await ownerClient.end();
    await using database = closing(
      openDatabase({ url: urlAs(postgres.superuserUrl, app, templateDatabase), poolSize: 4, log }),
    );
    let kills = 0;
    /** Answers nobody any more, and is there again when this resolves. */
    async function killAndStart(): Promise<void> {
      kills += 1;
      const pid = Number.parseInt(await readFile(join(dataDir, "cluster", "postmaster.pid"), "utf8"), 10);
      process.kill(pid, "SIGKILL");
      await postgres.exited;
      await postgres.stop();
      postgres = await start();
    }
    let through = { database: database as Database, storage };
    for (const [, isNow] of moments) through = interrupting(through.database, isNow, killAndStart);
    const asked = await askForExport(database, tenant.id);
    const worker = await startExportWorker({
      ...through,
      signingKey,
      software: "tests",
      log,
      concurrency: 1,
      bytesPerSecond: 0,
      ttlMs: 60_000,
      partBytes: 20_000,
      leaseMs: 3_000,
      pollMs: 50,
      retryPauseMs: 50,
    });
    try {
      const state = async () =>
        (await findExport(database, tenant.id, asked.id).catch(() => undefined))?.state;
      await until(async () => (await state()) === "ready", 100_000, 50);
    } finally {
      await worker.stop();
    }
    expect(kills).toBeGreaterThanOrEqual(5);
    // Whether the row of a part was committed is not known then, so its blob is left to the job.
    await removeOrphans(database, storage, new AbortController().signal, () => Date.now() + 7_200_000);
    await expectWhole(database, tenant, asked.id);
  } finally {
    await postgres.stop();
  }
}, 120_000);

const closing = (database: Database): Database & AsyncDisposable => ({
  ...database,
  [Symbol.asyncDispose]: () => database.close(),
});
