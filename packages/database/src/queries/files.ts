// A tenant's files: what is known of them; their contents are in the storage.
import { EctusError } from "@ectus/core";
import type { Selectable } from "kysely";
import type { Database } from "../database.ts";
import type { Files } from "../schema.ts";
import { appendAudit } from "./append-audit.ts";
import type { Actor } from "./tenants.ts";

export type FileRow = Selectable<Files>;

export function insertFile(
  database: Database,
  file: Omit<FileRow, "created_at">,
  actor: Actor,
): Promise<FileRow> {
  return database.inTenant(file.tenant_id, async (tx) => {
    const row = await tx.insertInto("files").values(file).returningAll().executeTakeFirstOrThrow();
    await appendAudit(tx, {
      ...actor,
      tenantId: file.tenant_id,
      action: "file.created",
      target: { type: "file", id: file.id },
      details: { bytes: file.bytes, purpose: file.purpose },
    });
    return row;
  });
}

export interface FilePage {
  readonly limit: number;
  readonly order: "asc" | "desc";
  readonly after?: string;
  readonly purpose?: string;
}

export function listFiles(database: Database, tenantId: string, page: FilePage): Promise<FileRow[]> {
  return database.inTenant(tenantId, (tx) => {
    let query = tx.selectFrom("files").selectAll().where("tenant_id", "=", tenantId);
    if (page.purpose !== undefined) query = query.where("purpose", "=", page.purpose);
    // Ids are UUIDv7: their order is that of creation.
    if (page.after !== undefined) query = query.where("id", page.order === "asc" ? ">" : "<", page.after);
    return query.orderBy("id", page.order).limit(page.limit).execute();
  });
}

/** @throws EctusError `not_found` */
export async function getFile(database: Database, tenantId: string, id: string): Promise<FileRow> {
  const row = await database.inTenant(tenantId, (tx) =>
    tx
      .selectFrom("files")
      .selectAll()
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .executeTakeFirst(),
  );
  if (row === undefined) throw fileNotFound(id);
  return row;
}

/** @throws EctusError `not_found` */
export async function deleteFile(
  database: Database,
  tenantId: string,
  id: string,
  actor: Actor,
): Promise<void> {
  await database.inTenant(tenantId, async (tx) => {
    const deleted = await tx
      .deleteFrom("files")
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .returning("id")
      .executeTakeFirst();
    if (deleted === undefined) throw fileNotFound(id);
    await appendAudit(tx, { ...actor, tenantId, action: "file.deleted", target: { type: "file", id } });
  });
}

/** Which of `ids` are blobs that something of the tenant needs: a file, or a file of an export. */
export async function neededBlobs(
  database: Database,
  tenantId: string,
  ids: readonly string[],
): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const rows = await database.inTenant(tenantId, (tx) =>
    tx
      .selectFrom("files")
      .select("id")
      .where("tenant_id", "=", tenantId)
      .where("id", "in", ids)
      .unionAll(
        tx
          .selectFrom("export_parts")
          .select("blob_id as id")
          .where("tenant_id", "=", tenantId)
          .where("blob_id", "in", ids),
      )
      .execute(),
  );
  return new Set(rows.map((row) => row.id));
}

const fileNotFound = (id: string): EctusError =>
  new EctusError("not_found", { what: "file", id: `file-${id.replaceAll("-", "")}` });
