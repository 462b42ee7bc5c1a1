// A tenant that the real engine exported, verified, imported and exported again: what comes back is what went out.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Compression, type ExportDocument, openBag, type RowFormat, verifyBag } from "@ectus/bag";
import type { Database, ImportResult } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { OpenTestDatabase } from "../postgres/open-test-database.ts";
import { type ImportTarget, openImportTarget, rowsOf } from "./import-target.ts";
import { type BagFiles, readBag, writeBag } from "./read-bag.ts";
import { askForExport, runNextExport, signingKey } from "./run-export.ts";
import { type SeededTenant, seedTenant } from "./seed-tenant.ts";

let from: ImportTarget;
let tenant: SeededTenant;
let rows: Readonly<Record<string, readonly string[]>>;

beforeAll(async () => {
  from = await openImportTarget();
  tenant = await seedTenant(from.database.owner, from.storage, { completions: 60, usage: 60 });
  await seedTenant(from.database.owner, from.storage, { completions: 5 });
  rows = await rowsOfTenant(from.database, tenant.id);
});
afterAll(() => from.close());

const formats: readonly RowFormat[] = ["ndjson", "csv"];
const compressions: readonly Compression[] = ["none", "gzip", "zstd"];
const kinds = formats.flatMap((rowFormat) => compressions.map((compression) => ({ rowFormat, compression })));

test.each(kinds)("$rowFormat with $compression into an empty instance", async (kind) => {
  const there = await openImportTarget();
  try {
    const first = await exportOf(from.database.database, from.storage, tenant.id, kind);
    await importBagInto(there, first.files);
    expect(await rowsOfTenant(there.database, tenant.id)).toEqual(rows);
    const second = await exportOf(there.database.database, there.storage, tenant.id, kind);
    expect(contentsOf(second.document)).toEqual(contentsOf(first.document));
    expect(second.document.tenant).toEqual(first.document.tenant);
  } finally {
    await there.close();
  }
});

test.each(formats)(
  "%s beside the tenant that was exported, whose rows stay as they are",
  async (rowFormat) => {
    const kind = { rowFormat, compression: "zstd" } as const;
    const first = await exportOf(from.database.database, from.storage, tenant.id, kind);
    const { tenantId } = await importBagInto(from, first.files, true);
    expect(await rowsOfTenant(from.database, tenantId)).toEqual(rows);
    expect(await rowsOfTenant(from.database, tenant.id)).toEqual(rows);
    const second = await exportOf(from.database.database, from.storage, tenantId, kind);
    expect(contentsOf(second.document)).toEqual(contentsOf(first.document));
  },
);

type Kind = { readonly rowFormat: RowFormat; readonly compression: Compression };

async function exportOf(
  database: Database,
  storage: BlobStorage,
  tenantId: string,
  kind: Kind,
): Promise<{ readonly files: BagFiles; readonly document: ExportDocument }> {
  await askForExport(database, tenantId, kind);
  const id = await runNextExport(database, storage, kind);
  const files = await readBag(database, storage, tenantId, id);
  return { files, document: JSON.parse(String(files.get("export.json"))) };
}

async function importBagInto(
  target: ImportTarget,
  files: BagFiles,
  asNewTenant = false,
): Promise<ImportResult> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-bag-"));
  try {
    await writeBag(files, folder);
    await using source = await openBag(folder);
    const { signal } = new AbortController();
    const report = await verifyBag(source, { keys: [signingKey.publicKey], signal });
    expect(report.faults).toEqual([]);
    if (report.document === undefined) throw new Error("no export.json");
    const bag = { document: report.document, files: new Map(files) };
    return await target.run(bag, { source, report, asNewTenant });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Without what exports and imports note in the audit log themselves. */
async function rowsOfTenant(database: OpenTestDatabase, tenantId: string): Promise<Record<string, string[]>> {
  const { audit_log = [], ...others } = await rowsOf(database, tenantId);
  return { ...others, audit_log: audit_log.filter((row) => !row.includes('"action": "export.')) };
}

const contentsOf = ({ tables, files }: ExportDocument) => ({
  tables: tables.map(({ name, rows, digest, columns }) => ({ name, rows, digest, columns })),
  files: files?.map(({ path, ...file }) => file),
});
