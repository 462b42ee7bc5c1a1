// The clean-up of files beside imports that are under way, done, and killed.
import type { ImportResult } from "@ectus/database";
import { findUnfinishedImports, whileNotImported } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type BagOfTenant, bagOfTenant, sourceOf } from "../../../tests/exports/bag-of-tenant.ts";
import { type ImportTarget, openImportTarget } from "../../../tests/exports/import-target.ts";
import { type NastyTenant, nastyTenant } from "../../../tests/exports/nasty-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { removeOrphans } from "./maintenance-jobs.ts";
import { removeImportRemains } from "./remove-import-remains.ts";

const { signal } = new AbortController();
const inTwoHours = () => Date.now() + 2 * 3_600_000;
let from: OpenTestDatabase;
let tenant: NastyTenant;
let bag: BagOfTenant;
let target: ImportTarget;

beforeAll(async () => {
  from = await openTestDatabase();
  tenant = await nastyTenant(from.owner);
  bag = await bagOfTenant(from.owner, tenant.id, { contents: tenant.contents });
});
afterAll(() => from.close());
beforeEach(async () => {
  target = await openImportTarget();
});
afterEach(() => target.close());

/** An import that waits when its files are stored. */
async function importing(
  store: BlobStorage,
): Promise<{ readonly done: Promise<ImportResult>; readonly goOn: () => void }> {
  const source = sourceOf(bag);
  const waiting = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const done = target.run(bag, {
    store,
    source: {
      async read(path) {
        if (path.startsWith("data/tables/users/")) {
          waiting.resolve();
          await goOn.promise;
        }
        return source.read(path);
      },
    },
  });
  await waiting.promise;
  return { done, goOn: goOn.resolve };
}

test("files of an import that is under way stay, and those of one that is done", async () => {
  const { database } = target.database;
  const { done, goOn } = await importing(target.storage);
  const files = [...tenant.contents.keys()].sort();
  const cleanUp = async () => {
    const removed = await removeOrphans(database, target.storage, signal, inTwoHours);
    expect(removed).toEqual({ removed: 0, unfinished: 0 });
    expect(await removeImportRemains(database, target.storage, signal)).toEqual({ removed: 0 });
    expect(await target.storedFor(tenant.id)).toEqual(files);
  };
  expect(await findUnfinishedImports(database)).toEqual([tenant.id]);
  await cleanUp();
  goOn();
  await done;
  expect(await findUnfinishedImports(database)).toEqual([]);
  expect(await whileNotImported(database, tenant.id, async () => "ran")).toBeUndefined();
  await cleanUp();
});

test("files of an import that was killed are removed", async () => {
  // As after SIGKILL: whoever wrote them removes nothing.
  const killed: BlobStorage = { ...target.storage, remove: () => Promise.reject(new Error("killed")) };
  const { done, goOn } = await importing(killed);
  await target.database.owner.query(
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'ectus-import' and datname = current_database()",
  );
  goOn();
  await expect(done).rejects.toMatchObject({ code: "database_unavailable" });
  const { database } = target.database;
  const { size } = tenant.contents;
  expect(await target.storedFor(tenant.id)).toHaveLength(size);
  expect(await removeOrphans(database, target.storage, signal, inTwoHours)).toMatchObject({ removed: 0 });
  expect(await removeImportRemains(database, target.storage, signal)).toEqual({ removed: size });
  await target.expectNothingLeft();
  expect(await removeImportRemains(database, target.storage, signal)).toEqual({ removed: 0 });
});

test("many files are removed in batches, and none any more once the signal says so", async () => {
  const { database, owner } = target.database;
  await owner.query(
    "insert into audit_log (tenant_id, id, actor_type, action, target_type, target_id) values ('00000000-0000-0000-0000-000000000000', $1::uuid, 'operator', 'tenant.import_started', 'tenant', $1::uuid::text)",
    [tenant.id],
  );
  const left = new Set(Array.from({ length: 250 }, (_, index) => `file ${index}`));
  const many: BlobStorage = {
    ...target.storage,
    async *list() {
      yield* [...left];
    },
    async remove(_tenant, id) {
      left.delete(id);
    },
  };
  await expect(removeImportRemains(database, many, AbortSignal.abort(new Error("enough")))).rejects.toThrow(
    "enough",
  );
  expect(left.size).toBe(250);
  expect(await removeImportRemains(database, many, signal)).toEqual({ removed: 250 });
  expect(left.size).toBe(0);
});
