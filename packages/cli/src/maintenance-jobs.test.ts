// Runs the scheduled work on a test database and a storage in a temporary folder.
import { randomUUIDv7 } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { createLogging } from "@ectus/core";
import { createTenant, type Database, openDatabase } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { drawTree, inTrace } from "../../../tests/monitoring/in-trace.ts";
import { recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { expireExports, maintenanceJobs, removeOrphans } from "./maintenance-jobs.ts";

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("test");
const { signal } = new AbortController();
let postgres: TestDatabase;
let database: Database;
let folder: string;
let storage: BlobStorage;
let tenantId: string;

beforeEach(async () => {
  postgres = await createTestDatabase();
  database = openDatabase({ url: postgres.appUrl, poolSize: 2, log });
  folder = await mkdtemp(join(tmpdir(), "ectus-jobs-"));
  storage = await openStorage(pathToFileURL(folder).href);
  tenantId = (await createTenant(database, { name: "Acme" }, { actor: { type: "system" } })).id;
});
afterEach(async () => {
  await database.close();
  await postgres.drop();
  await rm(folder, { recursive: true });
});

async function store(id: string): Promise<void> {
  await storage.write(tenantId, id, Readable.from([Buffer.from("x")]), { maxBytes: 1 });
}

async function stored(): Promise<string[]> {
  const ids: string[] = [];
  for await (const id of storage.list(tenantId)) ids.push(id);
  return ids.sort();
}

const inTwoHours = () => Date.now() + 2 * 3_600_000;

test("old contents without a row are removed, and those with one stay", async () => {
  const kept = randomUUIDv7();
  await store(kept);
  await store(randomUUIDv7());
  const owner = new pg.Client({ connectionString: postgres.ownerUrl });
  await owner.connect();
  await owner
    .query(
      "insert into files (tenant_id, id, filename, purpose, content_type, bytes, sha256) values ($1, $2, 'a', 'user_data', 'text/plain', 1, $3)",
      [tenantId, kept, Buffer.alloc(32)],
    )
    .finally(() => owner.end());
  expect(await removeOrphans(database, storage, signal, inTwoHours)).toEqual({ removed: 1, unfinished: 0 });
  expect(await stored()).toEqual([kept]);
});

test("an upload that is under way is left alone", async () => {
  const id = randomUUIDv7();
  await store(id);
  expect(await removeOrphans(database, storage, signal)).toEqual({ removed: 0, unfinished: 0 });
  expect(await stored()).toEqual([id]);
});

test("more files than fit in a batch are all looked at", async () => {
  const listing: BlobStorage = {
    ...storage,
    async *list() {
      for (let index = 0; index < 1_100; index += 1) yield randomUUIDv7();
    },
  };
  expect(await removeOrphans(database, listing, signal, inTwoHours)).toEqual({
    removed: 1_100,
    unfinished: 0,
  });
});

test("a job that is told to end stops between batches", async () => {
  await store(randomUUIDv7());
  await expect(
    removeOrphans(database, storage, AbortSignal.abort(new Error("enough")), inTwoHours),
  ).rejects.toThrow("enough");
  expect(await stored()).toHaveLength(1);
});

test("a run over tenants is a span for each batch of them, however much is done for each", async () => {
  await store(randomUUIDv7());
  await store(randomUUIDv7());
  const traces = recordTraces();
  await inTrace(traces, () => removeOrphans(database, storage, signal, inTwoHours));
  const spans = (await traces.spans()).filter(({ name }) => name !== "pool.wait");
  // A transaction lists a page of tenants.
  expect(drawTree(spans).filter((line) => !line.startsWith("    "))).toEqual([
    "request",
    "  transaction",
    "  tenants",
    "  transaction",
    "  storage remove_unfinished",
  ]);
  expect(spans.find(({ name }) => name === "tenants")?.attributes).toMatchObject({
    "ectus.batch.removed": 2,
  });
});

test("every scheduled job runs", async () => {
  for (const { run } of maintenanceJobs(database, storage)) {
    expect(Object.values(await run(signal)).every((value) => value === 0)).toBe(true);
  }
});

describe("an export", () => {
  /** Makes one that is ready, with a file in its bag. Gives the file's blob. */
  async function readyExport(expiresInMs: number): Promise<string> {
    const blob = randomUUIDv7();
    await store(blob);
    const owner = new pg.Client({ connectionString: postgres.ownerUrl });
    await owner.connect();
    try {
      await owner.query(
        `with e as (
           insert into exports (tenant_id, id, created_by_type, row_format, compression, scope, state, bag_name, bag_digest, expires_at)
           values ($1, gen_random_uuid(), 'operator', 'csv', 'none', '{}', 'ready', 'bag', $2, now() + $3 * interval '1 millisecond')
           returning id)
         insert into export_parts (tenant_id, export_id, path, kind, blob_id, bytes, sha256)
         select $1, id, 'bagit.txt', 'tag', $4, 1, $2 from e`,
        [tenantId, Buffer.alloc(32), expiresInMs, blob],
      );
    } finally {
      await owner.end();
    }
    return blob;
  }

  test("keeps the files of its bag, however old they are", async () => {
    const blob = await readyExport(3_600_000);
    expect(await removeOrphans(database, storage, signal, inTwoHours)).toEqual({ removed: 0, unfinished: 0 });
    expect(await stored()).toEqual([blob]);
  });

  test("whose time is over loses them, and another one does not", async () => {
    const kept = await readyExport(3_600_000);
    await readyExport(-1);
    await readyExport(-1);
    expect(await expireExports(database, storage, signal)).toEqual({ expired: 2 });
    expect(await stored()).toEqual([kept]);
    expect(await expireExports(database, storage, signal)).toEqual({ expired: 0 });
  });

  test("whose files cannot be removed is over all the same, and they are orphans", async () => {
    await readyExport(-1);
    const failing = { ...storage, remove: () => Promise.reject(new Error("no storage")) };
    expect(await expireExports(database, failing, signal)).toEqual({ expired: 1 });
    expect(await removeOrphans(database, storage, signal, inTwoHours)).toEqual({ removed: 1, unfinished: 0 });
  });

  test("whose files are being removed does not hold up a stop, and the rest are orphans", async () => {
    // More than are removed at a time.
    for (let count = 0; count < 12; count += 1) await readyExport(-1);
    const stop = new AbortController();
    const stopping = {
      ...storage,
      async remove(...blob: Parameters<BlobStorage["remove"]>) {
        await storage.remove(...blob);
        stop.abort(new Error("the instance stops"));
      },
    };
    // All are files of one bag.
    const owner = new pg.Client({ connectionString: postgres.ownerUrl });
    await owner.connect();
    await owner.query(
      "update export_parts set export_id = (select min(id::text)::uuid from exports), path = blob_id::text",
    );
    await owner.query("delete from exports where id <> (select min(id::text)::uuid from exports)");
    await owner.end();
    await expect(expireExports(database, stopping, stop.signal)).rejects.toThrow("the instance stops");
    const left = (await stored()).length;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(12);
    expect(await removeOrphans(database, storage, signal, inTwoHours)).toEqual({
      removed: left,
      unfinished: 0,
    });
  });
});
