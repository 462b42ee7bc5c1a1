// What a worker says of an export that it has claimed. It may write as long as the export is its own: every write here
// names worker and attempt, and throws `export_superseded` when that does not hold any more.
import { EctusError } from "@ectus/core";
import { type Insertable, sql, type UpdateObject } from "kysely";
import type { Database, TenantTransaction } from "../database.ts";
import type { DB, ExportParts } from "../schema.ts";
import { appendAudit } from "./append-audit.ts";
import {
  type ExportName,
  type ExportPartRow,
  type ExportPhase,
  type ExportRow,
  findExport,
} from "./exports.ts";

export interface ClaimLimits {
  /** Exports that run at a time, over all workers. */
  readonly most: number;
  readonly mostOfTenant: number;
  /** How long the worker is taken for alive without a sign. */
  readonly leaseMs: number;
}

/** An export that is a worker's. */
export interface ExportClaim extends ExportName {
  readonly workerId: string;
  readonly attempt: number;
}

/** Takes up the next export that waits, or one whose worker is gone. Undefined if there is none, or no place. */
export async function claimExport(
  database: Database,
  workerId: string,
  { most, mostOfTenant, leaseMs }: ClaimLimits,
): Promise<{ readonly claim: ExportClaim; readonly row: ExportRow } | undefined> {
  const [found] = await database.run<ExportName>({
    text: `select tenant_id as "tenantId", id from claim_export($1, $2 * interval '1 millisecond', $3, $4)`,
    values: [workerId, leaseMs, most, mostOfTenant],
    operation: "claim_export",
    table: "exports",
  });
  if (found === undefined) return undefined;
  const row = await findExport(database, found.tenantId, found.id);
  // Deleted in this moment.
  if (row === undefined || row.worker_id !== workerId) return undefined;
  return { claim: { ...found, workerId, attempt: row.attempt }, row };
}

export interface ExportProgress {
  readonly phase: ExportPhase;
  readonly rowsDone: number;
  readonly bytesDone: number;
  /** Null until it was counted. */
  readonly rowsExpected: number | null;
  readonly bytesExpected: number | null;
}

/** Tells how far it is, and that the worker is alive. @throws EctusError `export_superseded` */
export function reportExportProgress(
  database: Database,
  claim: ExportClaim,
  progress: ExportProgress,
  leaseMs: number,
): Promise<void> {
  return database.inTenant(claim.tenantId, (tx) =>
    change(tx, claim, {
      phase: progress.phase,
      rows_done: progress.rowsDone,
      bytes_done: progress.bytesDone,
      rows_expected: progress.rowsExpected,
      bytes_expected: progress.bytesExpected,
      lease_until: until(leaseMs),
    }),
  );
}

/**
 * Adds a file of the bag, which is durable in the storage, in the place of an earlier one of the same path. Gives the
 * blob of that.
 *
 * @throws EctusError `export_superseded`
 */
export function putExportPart(
  database: Database,
  claim: ExportClaim,
  part: Omit<Insertable<ExportParts>, "tenant_id" | "export_id">,
): Promise<string | undefined> {
  return database.inTenant(claim.tenantId, async (tx) => {
    await hold(tx, claim);
    const names = { tenant_id: claim.tenantId, export_id: claim.id };
    const earlier = await tx
      .deleteFrom("export_parts")
      .where("tenant_id", "=", claim.tenantId)
      .where("export_id", "=", claim.id)
      .where("path", "=", part.path)
      .returning("blob_id")
      .executeTakeFirst();
    await tx
      .insertInto("export_parts")
      .values({ ...names, ...part })
      .execute();
    return earlier?.blob_id;
  });
}

/** Takes files out of the bag; their blobs are the caller's to remove. @throws EctusError `export_superseded` */
export async function removeExportParts(
  database: Database,
  claim: ExportClaim,
  parts: readonly Pick<ExportPartRow, "path">[],
): Promise<void> {
  if (parts.length === 0) return;
  await database.inTenant(claim.tenantId, async (tx) => {
    await hold(tx, claim);
    await tx
      .deleteFrom("export_parts")
      .where("tenant_id", "=", claim.tenantId)
      .where("export_id", "=", claim.id)
      // One parameter, however many there are.
      .where(sql<boolean>`path = any(${parts.map(({ path }) => path)}::text[])`)
      .execute();
  });
}

export interface FinishedExport {
  readonly bagName: string;
  /** SHA-256 of tagmanifest-sha256.txt. */
  readonly bagDigest: Buffer;
  readonly ttlMs: number;
  readonly rows: number;
  readonly bytes: number;
  readonly kid: string;
}

/** @throws EctusError `export_superseded` */
export function finishExport(
  database: Database,
  claim: ExportClaim,
  finished: FinishedExport,
): Promise<void> {
  return database.inTenant(claim.tenantId, async (tx) => {
    await change(tx, claim, {
      state: "ready",
      phase: "done",
      lease_until: null,
      worker_id: null,
      bag_name: finished.bagName,
      bag_digest: finished.bagDigest,
      rows_done: finished.rows,
      rows_expected: finished.rows,
      bytes_done: finished.bytes,
      bytes_expected: finished.bytes,
      finished_at: sql<Date>`now()`,
      expires_at: until(finished.ttlMs),
    });
    await note(tx, claim, "export.ready", {
      rows: finished.rows,
      bytes: finished.bytes,
      digest: finished.bagDigest.toString("hex"),
      kid: finished.kid,
    });
  });
}

/** Ends it as failed; the blobs that are returned are the caller's to remove. @throws EctusError `export_superseded` */
export function failExport(
  database: Database,
  claim: ExportClaim,
  error: { readonly code: string; readonly message: string },
): Promise<readonly string[]> {
  return database.inTenant(claim.tenantId, async (tx) => {
    await change(tx, claim, {
      state: "failed",
      lease_until: null,
      worker_id: null,
      finished_at: sql<Date>`now()`,
      error_code: error.code,
      error_message: error.message,
    });
    const parts = await tx
      .deleteFrom("export_parts")
      .where("tenant_id", "=", claim.tenantId)
      .where("export_id", "=", claim.id)
      .returning("blob_id")
      .execute();
    await note(tx, claim, "export.failed", { code: error.code });
    return parts.map((part) => part.blob_id);
  });
}

/**
 * Leaves it to whichever worker comes next, after `pauseMs`; what is written stays.
 *
 * @throws EctusError `export_superseded`
 */
export function leaveExport(database: Database, claim: ExportClaim, pauseMs: number): Promise<void> {
  return database.inTenant(claim.tenantId, (tx) =>
    pauseMs === 0
      ? change(tx, claim, { state: "queued", phase: "waiting", lease_until: null, worker_id: null })
      : change(tx, claim, { phase: "waiting", lease_until: until(pauseMs), worker_id: null }),
  );
}

/** Notes in the audit log that a worker began, or took over. */
export function noteExportStart(database: Database, claim: ExportClaim): Promise<void> {
  return database.inTenant(claim.tenantId, async (tx) => {
    await hold(tx, claim);
    await note(tx, claim, claim.attempt === 1 ? "export.started" : "export.resumed", {
      attempt: claim.attempt,
    });
  });
}

async function note(
  tx: TenantTransaction,
  { tenantId, id }: ExportClaim,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await appendAudit(tx, {
    tenantId,
    actor: { type: "system" },
    action,
    target: { type: "export", id },
    details,
  });
}

async function change(
  tx: TenantTransaction,
  claim: ExportClaim,
  values: UpdateObject<DB, "exports">,
): Promise<void> {
  const { numUpdatedRows } = await tx
    .updateTable("exports")
    .set(values)
    .where("tenant_id", "=", claim.tenantId)
    .where("id", "=", claim.id)
    .where("state", "=", "running")
    .where("attempt", "=", claim.attempt)
    .where("worker_id", "=", claim.workerId)
    .executeTakeFirst();
  if (numUpdatedRows === 0n) throw new EctusError("export_superseded");
}

/** Keeps it the worker's until the transaction ends. */
async function hold(tx: TenantTransaction, claim: ExportClaim): Promise<void> {
  const held = await tx
    .selectFrom("exports")
    .select("id")
    .where("tenant_id", "=", claim.tenantId)
    .where("id", "=", claim.id)
    .where("state", "=", "running")
    .where("attempt", "=", claim.attempt)
    .where("worker_id", "=", claim.workerId)
    .forUpdate()
    .executeTakeFirst();
  if (held === undefined) throw new EctusError("export_superseded");
}

const until = (ms: number) => sql<Date>`now() + ${ms} * interval '1 millisecond'`;
