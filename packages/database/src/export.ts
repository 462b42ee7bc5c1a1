// Exports all that is a tenant's into a BagIt bag: one snapshot, every table by COPY in parts, the contents of files, the
// audit log, manifests and a signature. What was written is compared with what the database counts and digests on the
// same snapshot by another path; an export that differs fails, and never ends short.
import { bagName, type ExportHead, type PayloadFile, type SigningKey, writeTagFiles } from "@ectus/bag";
import type { Logger } from "@ectus/core";
import { runBatch, type SpanTemplate } from "@ectus/monitoring";
import { SpanKind } from "@opentelemetry/api";
import { dataMap } from "./data-map.ts";
import { type LiveSchema, readSchema } from "./data-map-check.ts";
import type { MappedTable, TableEntry } from "./data-map-entry.ts";
import type { Database } from "./database.ts";
import type { ExportCounts, ExportRun, ExportStore } from "./export/export-run.ts";
import { copyFiles, exportedFiles, fileBytes, SnapshotOutdated } from "./export/file-copies.ts";
import { createPace } from "./export/pace.ts";
import { addToBag, removeBlobs, storeBlob } from "./export/part-writer.ts";
import { createSecondPath, setAll } from "./export/second-path.ts";
import { writeTable } from "./export/table-parts.ts";
import { writtenTime } from "./export/written-time.ts";
import type { ExportSettings, RowSelection } from "./export-statements.ts";
import { type ExportClaim, type FinishedExport, removeExportParts } from "./queries/export-work.ts";
import { type ExportRow, listExportParts } from "./queries/exports.ts";
import type { Snapshot, SnapshotReader } from "./snapshot.ts";

export type { ExportCounts, ExportStore } from "./export/export-run.ts";

export interface ExportOptions {
  readonly database: Database;
  readonly store: ExportStore;
  readonly signingKey: SigningKey;
  /** Name and version of this program, for the bag. */
  readonly software: string;
  /** Of rows before compression and of files; 0 is no limit. */
  readonly bytesPerSecond: number;
  /** Bytes of rows after which a part ends; 64 MiB by default. */
  readonly partBytes?: number;
  readonly log: Logger;
}

export interface ExportTask {
  readonly claim: ExportClaim;
  readonly row: ExportRow;
  /** Written to as the export goes on. */
  readonly counts: ExportCounts;
  readonly signal: AbortSignal;
}

const defaultPartBytes = 64 * 1024 * 1024;
const mostSnapshots = 5;

/**
 * Writes a bag for an export that a worker has claimed, on a new snapshot. Parts of an earlier run are used again where
 * the database has the same rows still.
 *
 * @throws EctusError `export_incomplete` when the bag would not have been complete, `export_superseded` when the export
 * is not the worker's any more, `data_map_mismatch`; what database and storage throw
 */
export async function runExport(
  options: ExportOptions,
  task: ExportTask,
): Promise<Omit<FinishedExport, "ttlMs">> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await exportOnSnapshot(options, task);
    } catch (error) {
      if (!(error instanceof SnapshotOutdated) || attempt === mostSnapshots) throw error;
      options.log.info({ exportId: task.claim.id, reason: error.message }, "export begins again");
    }
  }
}

async function exportOnSnapshot(
  { database, store, signingKey, software, bytesPerSecond, partBytes = defaultPartBytes, log }: ExportOptions,
  { claim, row, counts, signal }: ExportTask,
): Promise<Omit<FinishedExport, "ttlMs">> {
  Object.assign(counts, newCounts(), { phase: "snapshot" });
  const { scope } = row;
  const run: ExportRun = {
    database,
    store,
    claim,
    row,
    scope,
    earlier: await listExportParts(database, claim.tenantId, claim.id),
    counts,
    partBytes,
    pace: createPace(bytesPerSecond, signal),
    signal,
    log,
  };
  const tables = tablesRead(run);
  return database.inSnapshot({ tenantId: claim.tenantId, tables, readers: 2, signal }, async (snapshot) => {
    const [reader] = snapshot.readers;
    const schema = await readSchema((query) => reader.query(query));
    for (const each of snapshot.readers) await setAll(each, settingsOf(run));
    const head = await writeData(run, snapshot, schema, software);
    counts.phase = "sealing";
    const kid = signingKey.publicKey.kid;
    const bagDigest = await runBatch(phase("seal"), () => seal(run, reader, head, signingKey));
    return {
      bagName: bagName({ tenantName: head.tenant.name, createdAt: snapshot.takenAt, exportId: claim.id }),
      bagDigest: Buffer.from(bagDigest, "hex"),
      rows: counts.rowsDone,
      bytes: counts.bytesDone,
      kid,
    };
  });
}

/** Counts of a run that has not begun. */
export function newCounts(): ExportCounts {
  return {
    phase: "waiting",
    rowsDone: 0,
    rowsExpected: null,
    bytesDone: 0,
    fileBytesExpected: 0,
    rowBytesDone: 0,
  };
}

/** Tables that are read or counted, which must not be rewritten meanwhile. */
function tablesRead({ scope }: ExportRun): readonly MappedTable[] {
  const tables = new Set<MappedTable>(["tenants", "schema_migrations"]);
  for (const table of [
    ...scope.tables,
    ...(scope.files ? ["files"] : []),
    ...(scope.auditLog ? ["audit_log"] : []),
  ]) {
    tables.add(table as MappedTable);
    const { time, subject } = dataMap[table as MappedTable] as TableEntry;
    for (const path of [time, subject]) if (path !== null && "through" in path) tables.add(path.through);
  }
  return [...tables];
}

function settingsOf({ claim, scope }: ExportRun): ExportSettings {
  return {
    "ectus.export_tenant": claim.tenantId,
    ...(scope.from === undefined ? {} : { "ectus.export_from": scope.from }),
    ...(scope.to === undefined ? {} : { "ectus.export_to": scope.to }),
    ...(scope.subject === undefined ? {} : { "ectus.export_subject": scope.subject }),
  };
}

/** Writes everything but the tag files, and gives what export.json says of it. */
async function writeData(
  run: ExportRun,
  { readers: [reader, second = reader], takenAt }: Snapshot,
  schema: LiveSchema,
  software: string,
): Promise<ExportHead> {
  const { counts, scope, row, claim } = run;
  const secondPath = createSecondPath(second);
  const selections = [...scope.tables, ...(scope.auditLog ? ["audit_log"] : [])].map((table) =>
    selectionOf(run, schema, table as MappedTable),
  );
  // While the first rows are written.
  const expected = new Map(selections.map((rows) => [rows.table, secondPath.count(rows)]));
  Promise.all(expected.values()).then(
    (all) => {
      counts.rowsExpected = all.reduce((sum, count) => sum + count, 0);
    },
    () => {},
  );
  if (scope.files) counts.fileBytesExpected = await fileBytes(reader, run);
  const written: Awaited<ReturnType<typeof writeTable>>[] = [];
  for (const rows of selections) {
    counts.phase = rows.table === "audit_log" ? "audit_log" : "tables";
    const format = rows.table === "audit_log" ? "ndjson" : row.row_format;
    const reading = {
      run,
      reader,
      secondPath,
      rows,
      format,
      expected: expected.get(rows.table) as Promise<number>,
    };
    written.push(
      await runBatch(phase(`export ${rows.table}`), async (span) => {
        const table = await writeTable(reading);
        span?.setAttributes({ "ectus.export.rows": table.rows, "ectus.export.parts": table.parts.length });
        return table;
      }),
    );
  }
  if (scope.files) {
    counts.phase = "files";
    await runBatch(phase("export contents of files"), () => copyFiles(reader, run));
  }
  counts.phase = "verifying";
  await runBatch(phase("compare"), () => secondPath.done());
  const auditLog = written.find(({ name }) => name === "audit_log");
  return {
    format: "ectus-export",
    version: 1,
    id: claim.id,
    tenant: { id: claim.tenantId, name: await tenantName(reader, run) },
    snapshotAt: takenAt.toISOString(),
    software,
    schemaVersion: await schemaVersion(reader),
    rowFormat: row.row_format,
    compression: row.compression,
    scope,
    tables: written.filter((table) => table !== auditLog),
    withheldTables: Object.entries(dataMap).flatMap(([name, { exported, tenant }]) =>
      exported === true || !("column" in tenant) ? [] : [{ name, reason: exported.withheld }],
    ),
    auditLog: auditLog === undefined ? null : { ...auditLog, head: await auditHead(reader, run) },
  };
}

function selectionOf({ scope }: ExportRun, schema: LiveSchema, table: MappedTable): RowSelection {
  return {
    table,
    types: schema[table].columns,
    required: schema[table].required,
    from: scope.from !== undefined,
    to: scope.to !== undefined,
    subject: scope.subject !== undefined,
  };
}

/** Writes the tag files. Gives the digest of the bag. */
async function seal(
  run: ExportRun,
  reader: SnapshotReader,
  head: ExportHead,
  key: SigningKey,
): Promise<string> {
  // Those of an earlier run tell of another snapshot.
  const tags = run.earlier.filter((part) => part.kind === "tag");
  await removeExportParts(run.database, run.claim, tags);
  await removeBlobs(
    run,
    tags.map((part) => part.blob_id),
  );
  const parts = (await listExportParts(run.database, run.claim.tenantId, run.claim.id)).filter(
    (part) => part.kind !== "tag",
  );
  async function* payload(): AsyncGenerator<PayloadFile> {
    for (const { path, bytes, sha256 } of parts) yield { path, bytes, sha256: sha256.toString("hex") };
  }
  const { bagDigest } = await writeTagFiles({
    head,
    files: run.scope.files ? exportedFiles(reader, run) : null,
    payload: payload(),
    payloadFiles: parts.length,
    payloadBytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
    baggedAt: new Date(head.snapshotAt),
    key,
    async write(path, source) {
      const file = await storeBlob(run, path, source);
      await addToBag(run, file, { kind: "tag" });
      return file;
    },
  });
  return bagDigest;
}

async function tenantName(reader: SnapshotReader, { claim }: ExportRun): Promise<string> {
  const [tenant] = await reader.query<{ name: string }>({
    text: "select name from tenants where id = $1",
    values: [claim.tenantId],
    operation: "select",
    table: "tenants",
  });
  return tenant?.name ?? "";
}

async function schemaVersion(reader: SnapshotReader): Promise<number> {
  const [found] = await reader.query<{ version: number }>({
    text: "select max(version) as version from schema_migrations",
    values: [],
    operation: "select",
    table: "schema_migrations",
  });
  return found?.version ?? 0;
}

async function auditHead(reader: SnapshotReader, { claim, scope }: ExportRun) {
  const [head] = await reader.query<{ id: string; created_at: Date }>({
    text: `select id, created_at from audit_log
           where tenant_id = $1 and ($2::timestamptz is null or created_at >= $2) and ($3::timestamptz is null or created_at < $3)
           order by id desc, created_at desc limit 1`,
    values: [claim.tenantId, scope.from ?? null, scope.to ?? null],
    operation: "select",
    table: "audit_log",
  });
  return head === undefined
    ? null
    : { id: head.id, createdAt: writtenTime(head.created_at, `audit entry ${head.id}`) };
}

function phase(name: string): SpanTemplate {
  return { name, kind: SpanKind.INTERNAL, attributes: {} };
}
