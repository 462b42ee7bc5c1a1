// What an export writes, read by programs that know nothing of it.
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { exportedColumns } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
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
