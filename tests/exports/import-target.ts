// An instance's database and storage that bags are imported into, and what is there afterwards.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BagReport, ExportedTable } from "@ectus/bag";
import { type ImportOptions, type ImportResult, importBag, platformTenantId } from "@ectus/database";
import { type BlobStorage, openStorage } from "@ectus/storage";
import type pg from "pg";
import { expect } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../postgres/open-test-database.ts";
import { recordingLog } from "../postgres/recording-log.ts";
import { type BagOfTenant, sourceOf, tablesOfBags } from "./bag-of-tenant.ts";
import { allowAnyScopes } from "./nasty-tenant.ts";

export interface ImportTarget {
  readonly database: OpenTestDatabase;
  readonly storage: BlobStorage;
  run(bag: BagOfTenant, more?: Partial<ImportOptions>): Promise<ImportResult>;
  /** Ids of a tenant's blobs. */
  storedFor(tenantId: string): Promise<string[]>;
  /** That there is no tenant, no row of one and no file. */
  expectNothingLeft(): Promise<void>;
  close(): Promise<void>;
}

export async function openImportTarget(): Promise<ImportTarget> {
  const database = await openTestDatabase();
  await allowAnyScopes(database.owner);
  const folder = await mkdtemp(join(tmpdir(), "ectus-import-"));
  const storage = await openStorage(pathToFileURL(folder).href);
  return {
    database,
    storage,
    run: (bag, more = {}) =>
      importBag({
        ownerUrl: database.ownerUrl,
        source: sourceOf(bag),
        report: reportOf(bag),
        store: storage,
        log: recordingLog().log,
        signal: new AbortController().signal,
        ...more,
      }),
    async storedFor(tenantId) {
      const ids: string[] = [];
      for await (const id of storage.list(tenantId)) ids.push(id);
      return ids.sort();
    },
    async expectNothingLeft() {
      const tenants = await database.owner.query("select id from tenants");
      expect(tenants.rows).toEqual([{ id: platformTenantId }]);
      for (const table of [...tablesOfBags.slice(1), "audit_log"]) {
        const { rows } = await database.owner.query(
          `select count(*)::integer as n from ${table} where tenant_id <> '${platformTenantId}'`,
        );
        expect(rows[0].n, table).toBe(0);
      }
      for (const name of await readdir(folder)) expect(await readdir(join(folder, name)), name).toEqual([]);
    },
    async close() {
      await database.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** A check that found nothing wrong. */
export const reportOf = ({ document }: BagOfTenant): BagReport => ({
  ok: true,
  faults: [],
  document,
  signature: { state: "valid", kid: "the-key" },
  files: 0,
  bytes: 0,
  rows: 0,
});

/** The rows of a tenant by table, as texts in order, without what no export has and what an import adds. */
export async function rowsOf(
  { owner }: { readonly owner: pg.Client },
  tenantId: string,
): Promise<Record<string, string[]>> {
  await owner.query("set timezone = 'UTC'");
  const found: Record<string, string[]> = {};
  for (const table of [...tablesOfBags, "audit_log"]) {
    const { rows } = await owner.query(
      `select (to_jsonb(t) - 'tenant_id' - 'digest' ${table === "tenants" ? "- 'id'" : ""})::text as row, t::text as whole
       from ${table} t where ${table === "tenants" ? "id" : "tenant_id"} = $1
         ${table === "audit_log" ? "and action <> 'export.imported'" : ""} order by 1`,
      [tenantId],
    );
    found[table] = rows.map(({ row, whole }) =>
      // The text of the row tells null from JSON's null, and shows every digit.
      table === "tenants" || table === "api_keys" ? row : `${row} ${whole.replace(tenantId, "")}`,
    );
  }
  return found;
}

/** The bag, with something else said of a table. */
export function withTable(
  bag: BagOfTenant,
  name: string,
  change: (table: ExportedTable) => Partial<ExportedTable>,
): BagOfTenant {
  const tables = bag.document.tables.map((table) =>
    table.name === name ? { ...table, ...change(table) } : table,
  );
  return { ...bag, document: { ...bag.document, tables } };
}
