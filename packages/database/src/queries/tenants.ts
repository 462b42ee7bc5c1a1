// Tenants, as the operator manages them.
import { EctusError, newUuid } from "@ectus/core";
import type { Selectable } from "kysely";
import { type Database, platformTenantId } from "../database.ts";
import type { Tenants } from "../schema.ts";
import { type AuditEntry, appendAudit } from "./append-audit.ts";

export type TenantRecord = Selectable<Tenants>;

export interface TenantLimits {
  readonly requests_per_minute?: number | null;
  readonly tokens_per_minute?: number | null;
  readonly monthly_token_budget?: number | null;
}

/** Who makes a change, for the audit log. */
export type Actor = Pick<AuditEntry, "actor" | "requestId">;

const tenantNotFound = (id: string): EctusError => new EctusError("not_found", { what: "tenant", id });

export async function createTenant(
  database: Database,
  tenant: { readonly name: string } & TenantLimits,
  actor: Actor,
): Promise<TenantRecord> {
  const id = newUuid();
  return database.inTenant(platformTenantId, async (tx) => {
    const row = await tx
      .insertInto("tenants")
      .values({ ...tenant, id })
      .returningAll()
      .executeTakeFirstOrThrow();
    await appendAudit(tx, {
      ...actor,
      tenantId: platformTenantId,
      action: "tenant.created",
      target: { type: "tenant", id },
    });
    return row;
  });
}

/** Tenants in the order in which they were made, without the platform itself. */
export function listTenants(
  database: Database,
  page: { readonly limit: number; readonly after?: string },
): Promise<TenantRecord[]> {
  return database.inTenant(platformTenantId, (tx) => {
    let query = tx
      .selectFrom("tenants")
      .selectAll()
      .where("id", ">", page.after ?? platformTenantId);
    query = query.orderBy("id").limit(page.limit);
    return query.execute();
  });
}

/** @throws EctusError `not_found` */
export async function getTenant(database: Database, id: string): Promise<TenantRecord> {
  const row = await database.inTenant(platformTenantId, (tx) =>
    tx
      .selectFrom("tenants")
      .selectAll()
      .where("id", "=", id)
      .where("id", "!=", platformTenantId)
      .executeTakeFirst(),
  );
  if (row === undefined) throw tenantNotFound(id);
  return row;
}

/**
 * Changes a tenant's name, state or limits; a limit of null is no limit.
 *
 * @throws EctusError `not_found`
 */
export async function updateTenant(
  database: Database,
  id: string,
  change: { readonly name?: string; readonly state?: TenantRecord["state"] } & TenantLimits,
  actor: Actor,
): Promise<TenantRecord> {
  return database.inTenant(platformTenantId, async (tx) => {
    const row = await tx
      .updateTable("tenants")
      .set({ ...change, updated_at: new Date() })
      .where("id", "=", id)
      .where("id", "!=", platformTenantId)
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) throw tenantNotFound(id);
    await appendAudit(tx, {
      ...actor,
      tenantId: platformTenantId,
      action: "tenant.updated",
      target: { type: "tenant", id },
      details: { fields: Object.keys(change) },
    });
    return row;
  });
}
