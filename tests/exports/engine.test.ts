// What an export writes, read by programs that know nothing of it.
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { exportedColumns, exportedTables, newCounts, openDatabase } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { nastyTenant } from "./nasty-tenant.ts";
import { type BagFiles, decompress, readBag, readCsv, readParts, readRows } from "./read-bag.ts";
import { askForExport, type RunOptions, runNextExport } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let opened: OpenTestDatabase;
let storage: BlobStorage;
let folder: string;
let tenant: SeededTenant;
let other: SeededTenant;

beforeAll(async () => {
  opened = await openTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "ectus-export-"));
  storage = await openStorage(pathToFileURL(folder).href);
  tenant = await seedTenant(opened.owner, storage, { completions: 300 });
  other = await seedTenant(opened.owner, storage, { completions: 40 });
});
afterAll(async () => {
  await opened.close();
  await rm(folder, { recursive: true });
});

async function exported(options: RunOptions = {}): Promise<BagFiles> {
  await askForExport(opened.database, tenant.id, options);
  const id = await runNextExport(opened.database, storage, options);
  return readBag(opened.database, storage, tenant.id, id);
}

const documentOf = (files: BagFiles) => JSON.parse((files.get("export.json") as Buffer).toString());

async function countOf(table: string): Promise<number> {
  const column = table === "tenants" ? "id" : "tenant_id";
  const { rows } = await opened.owner.query(
    `select count(*)::integer as count from ${table} where ${column} = $1`,
    [tenant.id],
  );
  return rows[0].count;
}

describe("NDJSON", () => {
  let files: BagFiles;
  beforeAll(async () => {
    files = await exported();
  });

  test("has every row of every table, as PostgreSQL itself writes them as JSON", async () => {
    for (const { name, rows } of documentOf(files).tables) {
      expect(rows, name).toBe(await countOf(name));
      const columns = exportedColumns(name).map((column) => `"${column}"`);
      const { rows: expected } = await opened.owner.query(
        `select row_to_json(r)::text as line from (select ${columns} from ${name} where ${name === "tenants" ? "id" : "tenant_id"} = $1) r`,
        [tenant.id],
      );
      const lines = readParts(files, `data/tables/${name}/`).flatMap((text) => text.split("\n").slice(0, -1));
      expect(lines.toSorted(), name).toEqual(expected.map(({ line }) => line).toSorted());
    }
  });

  test("is split into parts between rows, each with its digest", () => {
    const { tables } = documentOf(files);
    const messages = tables.find((table: { name: string }) => table.name === "messages");
    expect(messages.parts.length).toBeGreaterThan(3);
    for (const part of messages.parts) {
      const bytes = files.get(part.path) as Buffer;
      expect(part.bytes).toBe(bytes.length);
      expect(part.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
      expect(decompress(part.path, bytes).toString().split("\n").length - 1).toBe(part.rows);
    }
  });

  test("says of each table the digest that SQL computes over it", async () => {
    for (const { name, digest } of [...documentOf(files).tables, documentOf(files).auditLog]) {
      const columns = exportedColumns(name).map((column) => `"${column}"`);
      const { rows } = await opened.owner.query(
        `select mod(mod(coalesce(sum(hashtextextended(row_to_json(r)::text, 0)), 0), 18446744073709551616) + 18446744073709551616, 18446744073709551616)::text as sum
         from (select ${columns} from ${name} where ${name === "tenants" ? "id" : "tenant_id"} = $1
               ${name === "audit_log" ? "and created_at <= (select snapshot_at from (values ($2::timestamptz)) s (snapshot_at))" : ""}) r`,
        name === "audit_log" ? [tenant.id, documentOf(files).snapshotAt] : [tenant.id],
      );
      expect(BigInt(`0x${digest}`).toString(), name).toBe(rows[0].sum);
    }
  });

  test("has the contents of files under their ids, and their names only in export.json", () => {
    const { files: listed } = documentOf(files);
    expect(listed.map((file: { id: string }) => file.id).toSorted()).toEqual(tenant.fileIds.toSorted());
    for (const file of listed) {
      expect(file.path).toMatch(/^data\/files\/[0-9a-f-]{36}(\.[a-z0-9]{1,10})?$/);
      expect(
        createHash("sha256")
          .update(files.get(file.path) as Buffer)
          .digest("hex"),
      ).toBe(file.sha256);
      expect(file.filename).toContain(tenant.mark);
    }
  });

  test("has the audit log up to the snapshot", () => {
    const rows = readRows(files, "data/audit/");
    expect(rows.filter((row) => row.action === "test.done")).toHaveLength(30);
    expect(rows.some((row) => row.action === "export.requested")).toBe(true);
    expect(documentOf(files).auditLog.rows).toBe(rows.length);
  });

  test("has nothing of another tenant, of secrets, or of what is withheld in any byte", async () => {
    const { rows } = await opened.owner.query(
      "select encode(digest, 'hex') as hex, encode(digest, 'base64') as base64 from api_keys",
    );
    const secrets = rows.flatMap(({ hex, base64 }) => [hex, base64]);
    for (const [path, bytes] of files) {
      const text = (path.startsWith("data/files/") ? bytes : decompress(path, bytes)).toString("latin1");
      for (const foreign of [other.mark, other.id, ...secrets])
        expect(text.includes(foreign), path).toBe(false);
    }
    expect(documentOf(files).withheldTables.map((table: { name: string }) => table.name)).toContain(
      "rate_windows",
    );
  });
});

describe("the contents of files", () => {
  async function seeded(files: number): Promise<SeededTenant> {
    return seedTenant(opened.owner, storage, { completions: 1, files });
  }

  /** Runs an export of files alone. */
  async function exportFiles(
    { id }: SeededTenant,
    store: BlobStorage,
    counts = newCounts(),
  ): Promise<BagFiles> {
    const scope = { tables: [], files: true, auditLog: false };
    await askForExport(opened.database, id, { scope });
    const exportId = await runNextExport(opened.database, store, { counts });
    return readBag(opened.database, storage, id, exportId);
  }

  test("are copied some at a time, and no more than 8 MiB", async () => {
    const tenant = await seeded(30);
    let [now, most, bytes, mostBytes] = [0, 0, 0, 0];
    const watching: BlobStorage = {
      ...storage,
      async write(tenantId, blobId, source, options) {
        let written = 0;
        async function* counted(): AsyncGenerator<Uint8Array> {
          for await (const chunk of source) {
            written += chunk.length;
            bytes += chunk.length;
            mostBytes = Math.max(mostBytes, bytes);
            yield chunk;
          }
        }
        now += 1;
        most = Math.max(most, now);
        try {
          return await storage.write(tenantId, blobId, counted(), options);
        } finally {
          now -= 1;
          bytes -= written;
        }
      },
    };
    const files = await exportFiles(tenant, watching);
    expect([...files.keys()].filter((path) => path.startsWith("data/files/"))).toHaveLength(30);
    expect(most).toBe(8);
    expect(mostBytes).toBeLessThanOrEqual(8 * 1024 * 1024);
  });

  test("are expected until they are there", async () => {
    const tenant = await seeded(10);
    const counts = newCounts();
    const seen = new Set<number>();
    const watching: BlobStorage = {
      ...storage,
      async read(...args) {
        seen.add(counts.bytesDone + counts.fileBytesExpected);
        return storage.read(...args);
      },
    };
    await exportFiles(tenant, watching, counts);
    const total = (70_000 * 10 * 9) / 2;
    expect([...seen]).toEqual([total]);
    expect(counts).toMatchObject({ bytesDone: total, fileBytesExpected: 0 });
  });

  test("may have names that are no text, as long as a database can have them", async () => {
    const tenant = await seeded(1);
    // pg sends a replacement character for half a surrogate pair.
    const name = "\ud800 half/\udc00 %00\n.p\ud83d\ude00df";
    await opened.owner.query("update files set filename = $2 where tenant_id = $1", [tenant.id, name]);
    const [file] = documentOf(await exportFiles(tenant, storage)).files;
    expect(file).toMatchObject({ filename: name.toWellFormed() });
    expect(file.path).toMatch(/^data\/files\/[0-9a-f-]{36}$/);
  });
});

describe("CSV", () => {
  test.each(["none", "gzip", "zstd"] as const)(
    "with %s is what Python's csv module reads as the values",
    async (compression) => {
      const files = await exported({ rowFormat: "csv", compression, partBytes: 50_000 });
      for (const { name, columns } of documentOf(files).tables) {
        const names: string[] = columns.map((column: { name: string }) => column.name);
        const { rows: expected } = await opened.owner.query({
          text: `select ${names.map((column) => `coalesce("${column}"::text, '')`)} from ${name} where ${name === "tenants" ? "id" : "tenant_id"} = $1`,
          values: [tenant.id],
          rowMode: "array",
        });
        const parts = readCsv(files, `data/tables/${name}/`);
        for (const [header] of parts) expect(header).toEqual(names);
        const got = parts.flatMap((part) => part.slice(1));
        const sorted = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).toSorted();
        expect(sorted(got), name).toEqual(sorted(expected));
      }
    },
  );
});

test("two exports of one tenant at once, by two workers, are both whole and alike", async () => {
  const database = openDatabase({ url: opened.appUrl, poolSize: 2, log: recordingLog().log });
  try {
    const scope = { tables: exportedTables, files: true, auditLog: false };
    for (let count = 0; count < 2; count += 1) await askForExport(opened.database, tenant.id, { scope });
    const ids = await Promise.all([opened.database, database].map((each) => runNextExport(each, storage)));
    expect(new Set(ids).size).toBe(2);
    const [one, two] = await Promise.all(ids.map((id) => readBag(opened.database, storage, tenant.id, id)));
    const payload = (files: BagFiles | undefined) =>
      [...(files ?? [])]
        .filter(([path]) => path.startsWith("data/"))
        .map(([path, bytes]) => [path, bytes.toString("hex")]);
    expect(payload(one).length).toBeGreaterThan(20);
    expect(payload(one)).toEqual(payload(two));
  } finally {
    await database.close();
  }
});

test.each(["ndjson", "csv"] as const)(
  "parts of a row or two have all rows once as %s, whatever is in them and in their keys",
  async (rowFormat) => {
    const nasty = await nastyTenant(opened.owner);
    const scope = { tables: exportedTables, files: false, auditLog: true };
    await askForExport(opened.database, nasty.id, { rowFormat, scope });
    const id = await runNextExport(opened.database, storage, { partBytes: 100 });
    const document = documentOf(await readBag(opened.database, storage, nasty.id, id));
    for (const { name, rows, parts } of document.tables) {
      expect(parts.length, name).toBeGreaterThanOrEqual(rows / 3);
      const column = name === "tenants" ? "id" : "tenant_id";
      const { rows: found } = await opened.owner.query(`select from ${name} where ${column} = $1`, [
        nasty.id,
      ]);
      expect(rows, name).toBe(found.length);
    }
  },
);
