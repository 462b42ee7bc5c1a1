// Exports of a tenant's data and the parts of their bags: what clients ask for, and what a worker writes.
import type { Compression, ExportScope, RowFormat } from "@ectus/bag";
import { currentContext, EctusError, newUuid } from "@ectus/core";
import { type Selectable, sql } from "kysely";
import type { Database, TenantTransaction } from "../database.ts";
import { isUniqueViolation } from "../database-errors.ts";
import { jobData } from "../job-origin.ts";
import type { ExportParts, Exports } from "../schema.ts";
import { appendAudit } from "./append-audit.ts";
import type { Actor } from "./tenants.ts";

export type ExportState = Selectable<Exports>["state"];
export type ExportPhase = Selectable<Exports>["phase"];
export type ExportRow = Omit<Selectable<Exports>, "scope"> & { readonly scope: ExportScope };
export type ExportPartRow = Selectable<ExportParts>;

export interface NewExport {
  readonly tenantId: string;
  readonly rowFormat: RowFormat;
  readonly compression: Compression;
  readonly scope: ExportScope;
  /** A second request with the same key gets the first one's export. */
  readonly idempotencyKey?: string;
  /** How many of the tenant's may wait or run at a time. */
  readonly mostUnfinished: number;
}

/**
 * Queues an export, or gives the one that the same idempotency key queued before.
 *
 * @throws EctusError `too_many_exports`; `idempotency_mismatch` when that one is of something else
 */
export async function createExport(database: Database, wanted: NewExport, actor: Actor): Promise<ExportRow> {
  try {
    return await database.inTenant(wanted.tenantId, (tx) => insertExport(tx, wanted, actor));
  } catch (error) {
    // The same request came twice at once.
    const earlier = isUniqueViolation(error) ? await findByIdempotencyKey(database, wanted) : undefined;
    if (earlier === undefined) throw error;
    return earlier;
  }
}

async function insertExport(tx: TenantTransaction, wanted: NewExport, actor: Actor): Promise<ExportRow> {
  const { tenantId, rowFormat, compression, scope, idempotencyKey, mostUnfinished } = wanted;
  // Requests of one tenant take turns, or two would both find a free place.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`ectus exports ${tenantId}`}, 0))`.execute(tx);
  const earlier = await earlierExport(tx, wanted);
  if (earlier !== undefined) return earlier;
  const { unfinished } = await tx
    .selectFrom("exports")
    .select((eb) => eb.fn.countAll<number>().as("unfinished"))
    .where("tenant_id", "=", tenantId)
    .where("state", "in", ["queued", "running"])
    .executeTakeFirstOrThrow();
  if (unfinished >= mostUnfinished)
    throw new EctusError("too_many_exports", { limit: mostUnfinished, retryAfterSeconds: 60 });
  const context = currentContext();
  const row = await tx
    .insertInto("exports")
    .values({
      tenant_id: tenantId,
      id: newUuid(),
      created_by_type: actor.actor.type === "operator" ? "operator" : "api_key",
      created_by_id: actor.actor.id ?? null,
      origin: context === undefined ? null : JSON.stringify(jobData(context)),
      idempotency_key: idempotencyKey ?? null,
      row_format: rowFormat,
      compression,
      scope: JSON.stringify(scope),
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  await appendAudit(tx, {
    ...actor,
    tenantId,
    action: "export.requested",
    target: { type: "export", id: row.id },
    // Whom it is about is not for the audit log, which is kept when a person is erased.
    details: {
      format: rowFormat,
      compression,
      ...scope,
      ...(scope.subject === undefined ? {} : { subject: true }),
    },
  });
  return toExport(row);
}

async function findByIdempotencyKey(database: Database, wanted: NewExport): Promise<ExportRow | undefined> {
  return database.inTenant(wanted.tenantId, (tx) => earlierExport(tx, wanted));
}

async function earlierExport(tx: TenantTransaction, wanted: NewExport): Promise<ExportRow | undefined> {
  const { tenantId, rowFormat, compression, scope, idempotencyKey } = wanted;
  if (idempotencyKey === undefined) return undefined;
  const found = await tx
    .selectFrom("exports")
    .selectAll()
    .select(sql<boolean>`scope = ${JSON.stringify(scope)}::jsonb`.as("same_scope"))
    .where("tenant_id", "=", tenantId)
    .where("idempotency_key", "=", idempotencyKey)
    .executeTakeFirst();
  if (found === undefined) return undefined;
  const { same_scope, ...row } = found;
  if (!same_scope || row.row_format !== rowFormat || row.compression !== compression)
    throw new EctusError("idempotency_mismatch", { id: row.id });
  return toExport(row);
}

/** A tenant's exports by id. */
export function listExports(
  database: Database,
  tenantId: string,
  page: { readonly limit: number; readonly order: "asc" | "desc"; readonly after?: string },
): Promise<ExportRow[]> {
  return database.inTenant(tenantId, async (tx) => {
    let query = tx.selectFrom("exports").selectAll().where("tenant_id", "=", tenantId);
    if (page.after !== undefined) query = query.where("id", page.order === "asc" ? ">" : "<", page.after);
    return (await query.orderBy("id", page.order).limit(page.limit).execute()).map(toExport);
  });
}

/** Undefined if there is none, or it is another tenant's. */
export function findExport(database: Database, tenantId: string, id: string): Promise<ExportRow | undefined> {
  return database.inTenant(tenantId, async (tx) => {
    const row = await tx
      .selectFrom("exports")
      .selectAll()
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .executeTakeFirst();
    return row === undefined ? undefined : toExport(row);
  });
}

/** The files of an export's bag, by path. */
export function listExportParts(database: Database, tenantId: string, id: string): Promise<ExportPartRow[]> {
  return database.inTenant(tenantId, (tx) =>
    tx
      .selectFrom("export_parts")
      .selectAll()
      .where("tenant_id", "=", tenantId)
      .where("export_id", "=", id)
      .orderBy(sql`path collate "C"`)
      .execute(),
  );
}

/** One file of an export's bag; undefined if it has no such file. */
export function findExportPart(
  database: Database,
  tenantId: string,
  id: string,
  path: string,
): Promise<ExportPartRow | undefined> {
  return database.inTenant(tenantId, (tx) =>
    tx
      .selectFrom("export_parts")
      .selectAll()
      .where("tenant_id", "=", tenantId)
      .where("export_id", "=", id)
      .where("path", "=", path)
      .executeTakeFirst(),
  );
}

/**
 * Removes an export in whatever state it is; a worker that is at it stops. Gives the blobs that nobody needs any more;
 * those that the caller does not remove are orphans, which a job removes. Undefined if there is no such export.
 */
export function deleteExport(
  database: Database,
  tenantId: string,
  id: string,
  actor: Actor,
): Promise<readonly string[] | undefined> {
  return database.inTenant(tenantId, async (tx) => {
    const blobs = await blobsOf(tx, tenantId, id);
    const deleted = await tx
      .deleteFrom("exports")
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .returning("state")
      .executeTakeFirst();
    if (deleted === undefined) return undefined;
    await appendAudit(tx, {
      ...actor,
      tenantId,
      action: "export.deleted",
      target: { type: "export", id },
      details: { state: deleted.state },
    });
    return blobs;
  });
}

/** Notes in the audit log that somebody took a bag or a file of it. */
export function noteExportDownload(
  database: Database,
  tenantId: string,
  id: string,
  details: Readonly<Record<string, unknown>>,
  actor: Actor,
): Promise<void> {
  return database.inTenant(tenantId, (tx) =>
    appendAudit(tx, {
      ...actor,
      tenantId,
      action: "export.downloaded",
      target: { type: "export", id },
      details,
    }),
  );
}

/** Ends an export whose time is over, and gives the blobs to remove. Undefined if it is not, or not any more, ready. */
export function expireExport(
  database: Database,
  tenantId: string,
  id: string,
): Promise<readonly string[] | undefined> {
  return database.inTenant(tenantId, async (tx) => {
    const expired = await tx
      .updateTable("exports")
      .set({ state: "expired" })
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .where("state", "=", "ready")
      .where("expires_at", "<=", sql<Date>`now()`)
      .returning("id")
      .executeTakeFirst();
    if (expired === undefined) return undefined;
    const blobs = await blobsOf(tx, tenantId, id);
    await tx
      .deleteFrom("export_parts")
      .where("tenant_id", "=", tenantId)
      .where("export_id", "=", id)
      .execute();
    await appendAudit(tx, {
      tenantId,
      actor: { type: "system" },
      action: "export.expired",
      target: { type: "export", id },
    });
    return blobs;
  });
}

async function blobsOf(tx: TenantTransaction, tenantId: string, id: string): Promise<readonly string[]> {
  const rows = await tx
    .selectFrom("export_parts")
    .select("blob_id")
    .where("tenant_id", "=", tenantId)
    .where("export_id", "=", id)
    .execute();
  return rows.map((row) => row.blob_id);
}

/** Exports of all tenants whose time is over. */
export function findExpiredExports(database: Database, most: number): Promise<ExportName[]> {
  return database.run<ExportName>({
    text: `select tenant_id as "tenantId", id from find_expired_exports($1)`,
    values: [most],
    operation: "find_expired_exports",
    table: "exports",
  });
}

export interface ExportName {
  readonly tenantId: string;
  readonly id: string;
}

/** Of all tenants: for how long the oldest that is not finished waits or runs; 0 if there is none. */
export async function oldestUnfinishedExport(database: Database): Promise<{ readonly seconds: number }> {
  const [row] = await database.run<{ seconds: number }>({
    text: "select coalesce(extract(epoch from now() - oldest_unfinished_export()), 0)::float8 as seconds",
    values: [],
    operation: "oldest_unfinished_export",
    table: "exports",
  });
  return row ?? { seconds: 0 };
}

function toExport(row: Selectable<Exports>): ExportRow {
  return { ...row, scope: row.scope as ExportScope };
}
