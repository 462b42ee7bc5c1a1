// Imports a bag: all of its rows in one transaction and the contents of its files into the storage, as the tenant that it
// is of or as a new one. Ends with the counts and digests that the bag says, or leaves nothing.
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import type { BagReport, ExportDocument } from "@ectus/bag";
import { EctusError, errorMessage, type Logger, newUuid } from "@ectus/core";
import { exportedTables } from "./data-map.ts";
import {
  defaultLockTimeoutMs,
  type ImportConnection,
  openImportConnection,
} from "./import/import-connection.ts";
import { type ImportOrigin, recordImport, recordStart } from "./import/import-records.ts";
import { importRefused } from "./import/import-refused.ts";
import { compareFiles, type ImportedFileStore, loadFile } from "./import/load-files.ts";
import { loadTable, type Meter } from "./import/load-table.ts";
import { makeMonths } from "./import/make-months.ts";
import { planImport, type TablePlan } from "./import/plan-import.ts";
import { readSchemaFacts } from "./import/schema-facts.ts";

export type { ImportedFileStore } from "./import/load-files.ts";

/** The files of a bag; the source of @ectus/bag fits. */
export interface ImportSource {
  /** @param path below the bag's folder */
  read(path: string): Promise<Readable>;
}

export interface ImportOptions {
  /** Database URL of the role that owns the schema, which must be of this version. */
  readonly ownerUrl: string;
  readonly source: ImportSource;
  /** What a check of this very source found. Whether to trust the signer is for the caller to say. */
  readonly report: BagReport;
  readonly store: ImportedFileStore;
  /** Gives the tenant a new id, so that it can be beside the one that was exported. */
  readonly asNewTenant?: boolean;
  /** Instead of its name in the bag, which an export of a part of the data need not have. */
  readonly tenantName?: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: ImportProgress) => void;
  /** How long to wait for a table that is locked, by a migration for instance; 10,000 by default. */
  readonly lockTimeoutMs?: number;
}

/** Bytes of the bag, as they are in it. */
export interface ImportProgress {
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface ImportResult {
  readonly tenantId: string;
  readonly tenantName: string;
  readonly exportId: string;
  /** In the order in which they were written. */
  readonly tables: readonly { readonly name: string; readonly rows: number }[];
  readonly files: number;
  /** API keys, none of which works: their secrets are in no export. */
  readonly unusableKeys: number;
}

const mostFaultsTold = 5;
const waitForEndMs = 10_000;
const settleTimeoutMs = 30_000;

/** What the steps of one import share. */
interface Import {
  readonly options: ImportOptions;
  readonly document: ExportDocument;
  readonly origin: ImportOrigin;
  readonly tenantId: string;
  readonly meter: Meter;
  plan: readonly TablePlan[];
  /** As it is in its row, which need not be what export.json calls it. */
  tenantName: string;
  /** Ids of files whose contents are, wholly or not, in the storage. */
  readonly stored: string[];
  isCommitting: boolean;
}

/**
 * @throws EctusError `bag_invalid` when the check found faults; `import_refused` when the bag does not fit the instance,
 * the tenant is there, or what would be there is not what the bag says
 */
export async function importBag(options: ImportOptions): Promise<ImportResult> {
  const { source, report, asNewTenant = false, log } = options;
  const document = wholeDocument(report);
  const tenantId = asNewTenant ? newUuid() : document.tenant.id;
  const work: Import = {
    options,
    document,
    origin: {
      exportId: document.id,
      tenantId,
      exportedTenantId: document.tenant.id,
      bagDigest: await digestOf(await source.read("tagmanifest-sha256.txt")),
      signature: report.signature,
    },
    tenantId,
    meter: progressMeter(document, options.onProgress),
    plan: [],
    tenantName: "",
    stored: [],
    isCommitting: false,
  };
  try {
    await writeAll(work);
  } catch (error) {
    if (!(await settleFailure(work, error))) throw error;
  }
  log.info({ tenantId, exportId: document.id, files: work.stored.length }, "export imported");
  return {
    tenantId,
    tenantName: work.tenantName,
    exportId: document.id,
    tables: work.plan.map(({ name, rows }) => ({ name, rows })),
    files: work.stored.length,
    unusableKeys: work.plan.find(({ name }) => name === "api_keys")?.rows ?? 0,
  };
}

function wholeDocument({ ok, faults, document }: BagReport): ExportDocument {
  if (ok && document !== undefined) return document;
  const told = faults.slice(0, mostFaultsTold).map(({ message }) => message);
  if (faults.length > told.length) told.push(`and ${faults.length - told.length} faults more`);
  throw new EctusError("bag_invalid", {
    reason: told.join("; ") || "it has no export.json that can be read",
  });
}

async function digestOf(contents: Readable): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of contents) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

function progressMeter(document: ExportDocument, onProgress: ImportOptions["onProgress"]): Meter {
  const tables = [...document.tables, ...(document.auditLog === null ? [] : [document.auditLog])];
  const totalBytes = [...tables.flatMap(({ parts }) => parts), ...(document.files ?? [])].reduce(
    (sum, { bytes }) => sum + bytes,
    0,
  );
  let bytes = 0;
  return async function* (source) {
    for await (const chunk of source) {
      bytes += chunk.length;
      onProgress?.({ bytes, totalBytes });
      yield chunk;
    }
  };
}

async function writeAll(work: Import): Promise<void> {
  const { options, document, origin, tenantId } = work;
  const { ownerUrl, source, signal, tenantName, log, lockTimeoutMs = defaultLockTimeoutMs } = options;
  const { compression } = document;
  const read = (path: string): Promise<Readable> => source.read(path);
  await using connection = await openImportConnection({
    ownerUrl,
    tenantId,
    signal,
    lockTimeoutMs,
  });
  if (await tenantExists(connection, tenantId))
    throw importRefused(
      `the tenant ${tenantId} exists here. To have the exported data beside it, use --as-new-tenant.`,
    );
  work.plan = planImport(document, await readSchemaFacts(connection), tenantName);
  await makeMonths(connection, work.plan, { compression, read, lockTimeoutMs, log });
  await recordStart(connection, origin);
  // Files first, so that the transaction, which migrations and the vacuum wait for, is no longer than it must be.
  await writeFiles(work, connection);
  await connection.run("begin");
  const locked = [...exportedTables, "audit_log"].map((name) => `"${name}"`);
  await connection.run(`lock table ${locked.join(", ")} in row exclusive mode`);
  // A migration may have come in between.
  work.plan = planImport(document, await readSchemaFacts(connection), tenantName);
  await writeTenantWithoutRow(connection, work);
  for (const table of work.plan)
    await loadTable(connection, table, { tenantId, compression, read, meter: work.meter });
  await compareFiles(connection, tenantId, document.files ?? []);
  // After their digests were compared, since these rows are of this instance.
  if (tenantName !== undefined)
    await connection.run("update tenants set name = $2 where id = $1", [tenantId, tenantName]);
  work.tenantName = await nameOf(connection, tenantId);
  await recordImport(connection, origin);
  work.isCommitting = true;
  await connection.run("commit");
}

async function writeFiles(work: Import, connection: ImportConnection): Promise<void> {
  const { options, document, tenantId, meter, stored } = work;
  for (const file of document.files ?? []) {
    connection.signal.throwIfAborted();
    stored.push(file.id);
    const contents = await options.source.read(file.path);
    try {
      await loadFile(options.store, tenantId, file, meter(contents), connection.signal);
    } finally {
      contents.destroy();
    }
  }
}

async function writeTenantWithoutRow(connection: ImportConnection, work: Import): Promise<void> {
  if (work.plan.some(({ name }) => name === "tenants")) return;
  await connection.run("insert into tenants (id, name) values ($1, $2)", [
    work.tenantId,
    work.options.tenantName ?? work.document.tenant.name,
  ]);
}

async function nameOf(connection: ImportConnection, tenantId: string): Promise<string> {
  const [row] = await connection.run<{ name: string }>("select name from tenants where id = $1", [tenantId]);
  return row?.name ?? "";
}

async function tenantExists(connection: ImportConnection, tenantId: string): Promise<boolean> {
  return (await connection.run("select 1 as found from tenants where id = $1", [tenantId])).length > 0;
}

/**
 * Removes the files of an import that failed. Gives true if it did not fail after all: the connection may break after the
 * server has committed.
 */
async function settleFailure(work: Import, failure: unknown): Promise<boolean> {
  const { options, tenantId, stored, isCommitting } = work;
  if (stored.length === 0 && !isCommitting) return false;
  try {
    // Whoever has the tenant knows that the transaction is over, one way or the other.
    await using connection = await openImportConnection({
      ownerUrl: options.ownerUrl,
      tenantId,
      waitForTenantMs: waitForEndMs,
      signal: AbortSignal.timeout(settleTimeoutMs),
    });
    if (await tenantExists(connection, tenantId)) return isCommitting;
    for (const id of stored) await options.store.remove(tenantId, id);
    return false;
  } catch (error) {
    if (isCommitting) throw outcomeUnknown(tenantId, failure);
    options.log.warn(
      { tenantId, reason: errorMessage(error) },
      "files of a failed import could not be removed; the clean-up job removes them",
    );
    return false;
  }
}

function outcomeUnknown(tenantId: string, cause: unknown): EctusError {
  const reason = `The connection broke when the import was all but done. Whether the tenant ${tenantId} is there now is not known: see 'ectus tenant list'; if it is, it is complete. The database cannot be reached`;
  return new EctusError("database_unavailable", { reason, retryAfterSeconds: 2 }, { cause });
}
