// An export is the whole of one moment, or it fails and says why: what changes meanwhile is not in it, and what is lost
// on the way is noticed.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import {
  type CopyRows,
  type Database,
  deleteFile,
  type ExportRow,
  type RowBlock,
  type SnapshotReader,
} from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bySystem } from "../postgres/new-tenant.ts";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { type BagFiles, readBag, readRows } from "./read-bag.ts";
import { askForExport, type RunOptions, runNextExport } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

type Copied = AsyncIterable<RowBlock>;

let opened: OpenTestDatabase;
let database: Database;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;
let asked: ExportRow;

beforeAll(async () => {
  opened = await openTestDatabase();
  database = opened.database;
  folder = await mkdtemp(join(tmpdir(), "ectus-incomplete-"));
  storage = await openStorage(pathToFileURL(folder).href);
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  await opened.owner.query("delete from exports");
  tenant = await seedTenant(opened.owner, storage, { completions: 100 });
  asked = await askForExport(database, tenant.id);
});

const run = (
  through: Partial<Database>,
  store: Partial<BlobStorage> = {},
  options: RunOptions = {},
): Promise<string> => runNextExport({ ...database, ...through }, { ...storage, ...store }, options);

const bagOf = (id: string): Promise<BagFiles> => readBag(database, storage, tenant.id, id);

/** A database of which what a COPY gives passes through `pass`. */
function passing(pass: (copy: CopyRows, blocks: Copied) => Copied): Partial<Database> {
  const wrap = (reader: SnapshotReader): SnapshotReader => ({
    query: (query) => reader.query(query),
    copyRows: (copy) => pass(copy, reader.copyRows(copy)),
  });
  return {
    inSnapshot: (options, work) =>
      database.inSnapshot(options, ({ takenAt, readers: [first, ...rest] }) =>
        work({ takenAt, readers: [wrap(first), ...rest.map(wrap)] }),
      ),
  };
}

/** A database whose COPY of one table gives blocks that were changed on their way. */
function changing(table: string, change: (block: RowBlock) => readonly RowBlock[]): Partial<Database> {
  return passing(async function* (copy, blocks) {
    for await (const block of blocks) yield* copy.table === table ? change(block) : [block];
  });
}

describe("what is lost between the database and the bag is noticed:", () => {
  test.each<[string, (block: RowBlock) => readonly RowBlock[]]>([
    ["a block", () => []],
    ["a row", (block) => [{ ...block, rows: block.rows - 1 }]],
    ["a row too many", (block) => [{ ...block, rows: block.rows + 1 }]],
    ["a value", (block) => [{ ...block, digest: block.digest ^ 1n }]],
    ["a row that came twice", (block) => [block, block]],
  ])("%s", async (_, change) => {
    for (const table of ["usage", "audit_log", "tenants"]) {
      await opened.owner.query("delete from exports");
      await askForExport(database, tenant.id);
      const passed = run(changing(table, change)).then(() => `${table} passed`);
      await expect(passed).rejects.toMatchObject({ code: "export_incomplete" });
    }
  });

  test("a file whose contents are missing, named by its id", async () => {
    const [, lost] = tenant.fileIds;
    await storage.remove(tenant.id, lost as string);
    await expect(run({})).rejects.toThrow(`the contents of file ${lost} are missing in the storage`);
  });

  test.each(["other contents", "fewer bytes", "more bytes"])(
    "a file with %s than were uploaded",
    async (fault) => {
      const [, changed = ""] = tenant.fileIds;
      const { bytes } = await storage.stat(tenant.id, changed);
      const size = { "other contents": bytes, "fewer bytes": bytes - 1, "more bytes": bytes + 1 }[
        fault
      ] as number;
      await storage.write(tenant.id, changed, Readable.from([Buffer.alloc(size)]), { maxBytes: 1e9 });
      await expect(run({})).rejects.toThrow(`the contents of file ${changed} are not those of its upload`);
      // Nothing of it stays behind in the storage but the parts that are known.
      const { rows } = await opened.owner.query("select blob_id from export_parts where export_id = $1", [
        asked.id,
      ]);
      const known = new Set([...tenant.fileIds, ...rows.map((row) => row.blob_id)]);
      for await (const id of storage.list(tenant.id)) expect(known).toContain(id);
    },
  );

  test("a column that the data map does not know", async () => {
    await opened.owner.query("alter table users add column nickname text");
    try {
      await expect(run({})).rejects.toMatchObject({
        code: "data_map_mismatch",
        message: expect.stringContaining("nickname"),
      });
    } finally {
      await opened.owner.query("alter table users drop column nickname");
    }
  });
});

describe("what changes while an export runs", () => {
  /** Does something when the first rows of a table have been read. */
  function during(table: string, action: () => Promise<unknown>): Partial<Database> {
    let isDone = false;
    return passing(async function* (copy, blocks) {
      for await (const block of blocks) {
        if (copy.table === table && !isDone) {
          isDone = true;
          await action();
        }
        yield block;
      }
    });
  }

  const idsOf = async (table: string): Promise<string[]> =>
    (
      await opened.owner.query(`select id from ${table} where tenant_id = $1 order by id`, [tenant.id])
    ).rows.map((row) => row.id);

  test("is not in it: rows that were inserted, updated and deleted", async () => {
    const before = await idsOf("completions");
    const id = await run(
      during("api_keys", async () => {
        await opened.owner.query("delete from completions where tenant_id = $1 and id < $2", [
          tenant.id,
          before[50],
        ]);
        await opened.owner.query("update completions set model = 'changed' where tenant_id = $1", [
          tenant.id,
        ]);
        await opened.owner.query(
          "insert into completions select tenant_id, gen_random_uuid(), created_at, 'added', metadata, end_user, request, response from completions where tenant_id = $1",
          [tenant.id],
        );
        await opened.owner.query(
          "insert into users (tenant_id, id, name, email) values ($1, gen_random_uuid(), 'Late', 'late@x.example')",
          [tenant.id],
        );
      }),
    );
    const files = await bagOf(id);
    const completions = readRows(files, "data/tables/completions/");
    expect(completions.map((row) => row.id)).toEqual(before);
    expect(new Set(completions.map((row) => row.model))).toEqual(new Set(["m"]));
    expect(readRows(files, "data/tables/messages/")).toHaveLength(400);
    expect(readRows(files, "data/tables/users/").some((row) => row.name === "Late")).toBe(false);
  });

  test("and would take rows from under it waits for its end, or gives up: truncate and a migration", async () => {
    const id = await run(
      during("api_keys", async () => {
        await opened.owner.query("set lock_timeout = '200ms'");
        for (const statement of [
          "truncate messages",
          "alter table messages add column late text",
          "alter table completions alter column model type varchar(50)",
        ])
          await expect(opened.owner.query(statement)).rejects.toThrow("lock timeout");
        await opened.owner.query("reset lock_timeout");
      }),
    );
    expect(readRows(await bagOf(id), "data/tables/messages/")).toHaveLength(400);
  });

  test("and waits for it does not keep it from going on", async () => {
    let migration: Promise<unknown> | undefined;
    const id = await run(
      during("users", async () => {
        migration = opened.owner.query("alter table messages add column late text");
        // It stands in the queue for the lock before anything else may.
        const waiting = "select from pg_locks where not granted and mode = 'AccessExclusiveLock'";
        for (let found = 0; found === 0; )
          found = (await database.run({ text: waiting, values: [], operation: "test", table: "none" }))
            .length;
      }),
    );
    await migration;
    await opened.owner.query("alter table messages drop column late");
    expect(readRows(await bagOf(id), "data/tables/messages/")).toHaveLength(400);
  });

  test("as a file that is deleted has the export begin again with the state after it", async () => {
    const [, gone = ""] = tenant.fileIds;
    let removed = false;
    const id = await run(
      {},
      {
        async read(tenantId, blobId, range) {
          if (blobId === gone && !removed) {
            removed = true;
            await deleteFile(database, tenant.id, gone, bySystem);
            await storage.remove(tenant.id, gone);
          }
          return storage.read(tenantId, blobId, range);
        },
      },
    );
    expect(removed).toBe(true);
    const files = await bagOf(id);
    const document = JSON.parse((files.get("export.json") as Buffer).toString());
    expect(document.files.map((file: { id: string }) => file.id)).toEqual(
      tenant.fileIds.filter((each) => each !== gone).toSorted(),
    );
    expect(readRows(files, "data/tables/files/")).toHaveLength(2);
    expect([...files.keys()].filter((path) => path.includes(gone))).toEqual([]);
  });
});

describe("what was not asked for is not in it:", () => {
  const documentOf = (files: BagFiles) => JSON.parse((files.get("export.json") as Buffer).toString());

  async function exported(scope: RunOptions["scope"]): Promise<BagFiles> {
    await opened.owner.query("delete from exports");
    const whole = { tables: [], files: false, auditLog: false };
    await askForExport(database, tenant.id, { scope: { ...whole, ...scope } });
    return bagOf(await run({}));
  }

  test("other tables, files and the audit log", async () => {
    const files = await exported({ tables: ["users"], files: false, auditLog: false });
    expect(documentOf(files)).toMatchObject({
      files: null,
      auditLog: null,
      tables: [{ name: "users", rows: 5 }],
    });
    expect([...files.keys()].filter((path) => path.startsWith("data/"))).toEqual([
      "data/tables/users/part-00001.ndjson.zst",
    ]);
  });

  test("what is outside of a range of dates, of messages by their completion", async () => {
    const from = "2026-05-01T00:30:00.000Z";
    const to = "2026-05-01T01:00:00.000Z";
    const files = await exported({
      tables: ["completions", "messages", "tenants", "usage"],
      files: true,
      auditLog: true,
      from,
      to,
    });
    const { rows } = await opened.owner.query(
      "select id from completions where tenant_id = $1 and created_at >= $2 and created_at < $3 order by id",
      [tenant.id, from, to],
    );
    expect(rows.length).toBeGreaterThan(20);
    expect(readRows(files, "data/tables/completions/").map((row) => row.id)).toEqual(
      rows.map((row) => row.id),
    );
    expect(new Set(readRows(files, "data/tables/messages/").map((row) => row.completion_id))).toEqual(
      new Set(rows.map((row) => row.id)),
    );
    expect(documentOf(files)).toMatchObject({
      scope: { from, to },
      files: [],
      auditLog: { rows: 0, head: null },
    });
    expect(readRows(files, "data/tables/tenants/")).toHaveLength(1);
    expect(readRows(files, "data/tables/usage/")).toHaveLength(0);
  });

  test("rows about other people", async () => {
    const tables = ["users", "completions", "messages"];
    const files = await exported({ tables, files: false, auditLog: false, subject: "END-user-3" });
    const completions = readRows(files, "data/tables/completions/");
    expect(completions.length).toBeGreaterThan(5);
    expect(new Set(completions.map((row) => row.end_user))).toEqual(new Set(["end-user-3"]));
    expect(readRows(files, "data/tables/messages/")).toHaveLength(completions.length * 4);
    expect(readRows(files, "data/tables/users/")).toEqual([]);
    const byMail = await exported({
      tables,
      files: false,
      auditLog: false,
      subject: `user2@${tenant.mark}.example`,
    });
    expect(readRows(byMail, "data/tables/users/")).toMatchObject([{ email: `user2@${tenant.mark}.example` }]);
    const injected = await exported({ tables, files: false, auditLog: false, subject: "' or true --" });
    expect(documentOf(injected).tables.map((table: { rows: number }) => table.rows)).toEqual([0, 0, 0]);
  });
});

test("a tenant without anything has a bag that says so", async () => {
  await opened.owner.query("delete from exports");
  const { rows } = await opened.owner.query(
    "insert into tenants (id, name) values (gen_random_uuid(), 'Empty') returning id",
  );
  const id = rows[0].id as string;
  await askForExport(database, id, { rowFormat: "csv" });
  const files = await readBag(database, storage, id, await run({}));
  const document = JSON.parse((files.get("export.json") as Buffer).toString());
  for (const table of document.tables) {
    if (table.name !== "tenants") expect(table).toMatchObject({ rows: 0, digest: "0".repeat(16), parts: [] });
  }
  expect(document.files).toEqual([]);
});
