// An export that fails is over when it says so: nothing of it is written afterwards, and no blob is left behind that is
// no part of its bag.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EctusError } from "@ectus/core";
import { type Database, listExportParts } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { until } from "../postgres/until.ts";
import { askForExport, runNextExport } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let opened: OpenTestDatabase;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;
let exportId: string;
/** Blobs that were there before it. */
let before: readonly string[];

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-given-up-"));
  storage = await openStorage(pathToFileURL(folder).href);
  tenant = await seedTenant(opened.owner, storage, { completions: 400 });
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  await opened.owner.query("delete from exports");
  before = await Array.fromAsync(storage.list(tenant.id));
  exportId = (await askForExport(opened.database, tenant.id)).id;
});

/** How many calls are under way. */
function counted<Args extends unknown[], T>(call: (...args: Args) => Promise<T>) {
  const counts = { begun: 0, underWay: 0 };
  return {
    counts,
    call: async (...args: Args): Promise<T> => {
      counts.begun += 1;
      counts.underWay += 1;
      try {
        return await call(...args);
      } finally {
        counts.underWay -= 1;
      }
    },
  };
}

/** Longer than an export takes to end that waits for nothing. */
async function aWhile(): Promise<void> {
  for (let queries = 0; queries < 500; queries += 1) await opened.owner.query("select");
}

async function expectNoOrphans(): Promise<void> {
  const parts = await listExportParts(opened.database, tenant.id, exportId);
  const known = new Set([...before, ...parts.map((part) => part.blob_id)]);
  expect(new Set(await Array.fromAsync(storage.list(tenant.id)))).toEqual(known);
}

// The first tables have a part each; the next one has many, of which one is stored while the row of the one before it is
// written.
const ofSmallTables = 3;

test("because a part cannot become one of its bag: the next one, which was being stored, is removed", async () => {
  let stored = 0;
  const write = counted(async (...args: Parameters<BlobStorage["write"]>) => {
    const digest = await storage.write(...args);
    stored += 1;
    // It is not the worker's any more.
    if (stored === ofSmallTables + 1) await opened.owner.query("update exports set attempt = attempt + 1");
    if (stored > ofSmallTables + 1) await aWhile();
    return digest;
  });
  const failed = runNextExport(opened.database, { ...storage, write: write.call });
  await expect(failed).rejects.toMatchObject({ code: "export_superseded" });
  expect(write.counts).toEqual({ begun: ofSmallTables + 2, underWay: 0 });
  await expectNoOrphans();
});

test("because a part cannot be stored: the one before it is in the bag by then, or never", async () => {
  let writes = 0;
  const write: BlobStorage["write"] = async (...args) => {
    writes += 1;
    if (writes < ofSmallTables + 2) return storage.write(...args);
    await until(() => inTenant.counts.underWay > 0);
    throw new EctusError("storage_full");
  };
  const inTenant = counted(async (...args: Parameters<Database["inTenant"]>) => {
    if (writes > ofSmallTables) await aWhile();
    return opened.database.inTenant(...args);
  });
  const slow = { ...opened.database, inTenant: inTenant.call as Database["inTenant"] };
  await expect(runNextExport(slow, { ...storage, write })).rejects.toMatchObject({ code: "storage_full" });
  expect(writes).toBe(ofSmallTables + 2);
  expect(inTenant.counts.underWay).toBe(0);
  expect(await listExportParts(opened.database, tenant.id, exportId)).toHaveLength(ofSmallTables + 1);
  await expectNoOrphans();
});

test("because one of several files cannot be copied: of those beside it none is left that is not in the bag", async () => {
  const [, lost = ""] = tenant.fileIds;
  const write = counted(storage.write);
  const read: BlobStorage["read"] = async (tenantId, blobId, range) => {
    if (blobId !== lost) return storage.read(tenantId, blobId, range);
    throw new EctusError("storage_error", { reason: "the disk is broken" });
  };
  const failed = runNextExport(opened.database, { ...storage, read, write: write.call });
  await expect(failed).rejects.toMatchObject({ code: "storage_error" });
  expect(write.counts.underWay).toBe(0);
  await expectNoOrphans();
});
