// Exports that are interrupted and taken up again: on a new snapshot, with the parts that hold still, and never less than
// the whole.
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Database, type ExportPartRow, listExportParts } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { type BagFiles, readBag, readRows } from "./read-bag.ts";
import { askForExport, type RunOptions, runNextExport, runNextExportUntil } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let opened: OpenTestDatabase;
let database: Database;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;

beforeAll(async () => {
  opened = await openTestDatabase();
  database = opened.database;
  folder = await mkdtemp(join(tmpdir(), "ectus-resume-"));
  storage = await openStorage(pathToFileURL(folder).href);
  tenant = await seedTenant(opened.owner, storage, { completions: 400, files: 5 });
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});

/** A storage that stops the export when so many bytes were given to it. */
function stoppingAfter(bytes: number): { readonly storage: BlobStorage; readonly signal: AbortSignal } {
  const stop = new AbortController();
  let left = bytes;
  async function* counted(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      left -= chunk.byteLength;
      if (left < 0) stop.abort(new Error("the worker is stopping"));
      yield chunk;
    }
  }
  return {
    signal: stop.signal,
    storage: {
      ...storage,
      write: (tenantId, blobId, source, options) => storage.write(tenantId, blobId, counted(source), options),
    },
  };
}

async function wholeBag(options: RunOptions = {}): Promise<BagFiles> {
  await askForExport(database, tenant.id, options);
  return readBag(database, storage, tenant.id, await runNextExport(database, storage, options));
}

/** What is the same in every export of the same data: all but ids, dates and what tells of exports themselves. */
function comparable(files: BagFiles): unknown {
  const document = JSON.parse((files.get("export.json") as Buffer).toString());
  const { id, snapshotAt, auditLog, ...rest } = document;
  const data = [...files].filter(([path]) => path.startsWith("data/") && !path.startsWith("data/audit/"));
  const auditRows = readRows(files, "data/audit/").filter((row) => row.action === "test.done");
  return { rest, data: data.map(([path, bytes]) => [path, bytes.toString("base64")]), auditRows };
}

describe.each([
  { rowFormat: "ndjson", compression: "zstd" },
  { rowFormat: "csv", compression: "gzip" },
] as const)("an export as $rowFormat with $compression", (options) => {
  test("that is interrupted at every tenth ends with the bag of one that was not", async () => {
    const reference = await wholeBag(options);
    const total = [...reference]
      .filter(([path]) => path.startsWith("data/"))
      .reduce((sum, [, bytes]) => sum + bytes.length, 0);
    const { id } = await askForExport(database, tenant.id, options);
    let kept = 0;
    for (let tenth = 0; tenth < 10; tenth += 1) {
      const before = await blobsOf(id);
      // Each run writes a tenth more than what is there.
      const written = (await listExportParts(database, tenant.id, id)).reduce(
        (sum, part) => sum + part.bytes,
        0,
      );
      const goal = (total * (tenth + 0.5)) / 10;
      if (goal <= written) continue;
      const stopping = stoppingAfter(goal - written);
      await runNextExportUntil(database, stopping.storage, { ...options, signal: stopping.signal });
      const after = await blobsOf(id);
      for (const [path, blob] of before) if (after.get(path) === blob) kept += 1;
      expect(after.size).toBeGreaterThanOrEqual(before.size);
    }
    expect(kept).toBeGreaterThan(20);
    const before = await blobsOf(id);
    expect(await runNextExport(database, storage, options)).toBe(id);
    const after = await blobsOf(id);
    // The tenants' own row has no key to go on after, and the audit log has grown.
    const rewritten = [...before].filter(([path, blob]) => after.get(path) !== blob).map(([path]) => path);
    expect(rewritten.filter((path) => !path.startsWith("data/audit/"))).toEqual([
      expect.stringContaining("data/tables/tenants/"),
    ]);
    expect(comparable(await readBag(database, storage, tenant.id, id))).toEqual(comparable(reference));
  });
});

const blobsOf = async (id: string): Promise<ReadonlyMap<string, string>> =>
  new Map((await listExportParts(database, tenant.id, id)).map((part) => [part.path, part.blob_id]));

describe("a part of an earlier run", () => {
  /** Interrupts an export while it writes the contents of files, when all tables are there. */
  async function interrupted(): Promise<string> {
    const { id } = await askForExport(database, tenant.id);
    const stop = new AbortController();
    const atFiles: BlobStorage = {
      ...storage,
      read: async () => {
        stop.abort(new Error("enough"));
        throw stop.signal.reason;
      },
    };
    await runNextExportUntil(database, atFiles, { signal: stop.signal });
    return id;
  }

  const partsOf = async (id: string, table: string): Promise<readonly ExportPartRow[]> =>
    (await listExportParts(database, tenant.id, id)).filter((part) => part.source === table);

  const keyOf = (part: ExportPartRow | undefined): string =>
    String((part?.last_key as string[] | undefined)?.[0]);

  const ids = async (table: string): Promise<string[]> =>
    (
      await opened.owner.query(`select id from ${table} where tenant_id = $1 order by id`, [tenant.id])
    ).rows.map((row) => row.id);

  test.each([
    ["deleted", "delete from completions where tenant_id = $1 and id = $2"],
    ["updated", `update completions set metadata = '{"changed": "yes"}' where tenant_id = $1 and id = $2`],
    [
      "inserted",
      `insert into completions select tenant_id, (left(id::text, 35) || 'f')::uuid, created_at, model, metadata, end_user, request, response
       from completions where tenant_id = $1 and id = $2 on conflict do nothing`,
    ],
  ])("is written anew when a row of its range was %s since, and the others stay", async (_, change) => {
    const id = await interrupted();
    const before = await partsOf(id, "completions");
    expect(before.length).toBeGreaterThan(3);
    const middle = (await ids("completions")).find((each) => each > keyOf(before[1]));
    await opened.owner.query(change, [tenant.id, middle]);
    await runNextExport(database, storage);
    const after = await partsOf(id, "completions");
    expect(after.map(({ path }) => path)).toEqual(before.map(({ path }) => path));
    expect(after.map((part, index) => part.blob_id === before[index]?.blob_id)).toEqual(
      before.map((_, index) => index !== 2),
    );
    const rows = readRows(await readBag(database, storage, tenant.id, id), "data/tables/completions/");
    expect(rows.map((row) => row.id)).toEqual(await ids("completions"));
  });

  test("that has no rows any more is an empty part", async () => {
    const id = await interrupted();
    const [first, second] = await partsOf(id, "completions");
    const [from, to] = [keyOf(first), keyOf(second)];
    const removed = await opened.owner.query(
      "delete from completions where tenant_id = $1 and id > $2 and id <= $3",
      [tenant.id, from, to],
    );
    expect(removed.rowCount).toBe(second?.row_count);
    await runNextExport(database, storage);
    const after = await partsOf(id, "completions");
    expect(after[1]).toMatchObject({ row_count: 0, row_digest: "0".repeat(16) });
    const rows = readRows(await readBag(database, storage, tenant.id, id), "data/tables/completions/");
    expect(rows.map((row) => row.id)).toEqual(await ids("completions"));
  });

  test("is followed by what was added after it", async () => {
    const id = await interrupted();
    const before = await partsOf(id, "users");
    await opened.owner.query(
      "insert into users (tenant_id, id, name, email) values ($1, $2, 'Late', 'late@x.example')",
      [tenant.id, "ffffffff-ffff-7fff-bfff-ffffffffffff"],
    );
    await runNextExport(database, storage);
    const after = await partsOf(id, "users");
    expect(after.map(({ number }) => number)).toEqual([1, 2]);
    expect(after[0]?.blob_id).toBe(before[0]?.blob_id);
    const rows = readRows(await readBag(database, storage, tenant.id, id), "data/tables/users/");
    expect(rows.at(-1)).toMatchObject({ name: "Late" });
  });

  test.each(["missing", "cut short"])("whose blob is %s is written anew", async (fault) => {
    const id = await interrupted();
    const lost = (await partsOf(id, "messages"))[1] as ExportPartRow;
    if (fault === "missing") await storage.remove(tenant.id, lost.blob_id);
    else {
      const short = (async function* () {
        yield randomBytes(lost.bytes - 1);
      })();
      await storage.write(tenant.id, lost.blob_id, short, { maxBytes: 1e9 });
    }
    await runNextExport(database, storage);
    const after = await partsOf(id, "messages");
    expect(after[1]?.blob_id).not.toBe(lost.blob_id);
    expect(after[1]?.row_digest).toBe(lost.row_digest);
    expect(after[0]?.blob_id).toBe((await partsOf(id, "messages"))[0]?.blob_id);
  });
});
