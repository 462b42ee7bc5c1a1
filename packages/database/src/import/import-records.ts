// What the audit log says of an import, and what is left to do for one that was killed.
import { newUuid } from "@ectus/core";
import { sql } from "kysely";
import { type Database, platformTenantId } from "../database.ts";
import { queryOfKind } from "../statement-kind.ts";
import { type ImportConnection, importLock } from "./import-connection.ts";

export interface ImportOrigin {
  /** Of the export. */
  readonly exportId: string;
  readonly tenantId: string;
  /** Whose data the bag says it has. */
  readonly exportedTenantId: string;
  /** SHA-256 of the bag's tagmanifest-sha256.txt. */
  readonly bagDigest: string;
  readonly signature: { readonly state: string; readonly kid: string | undefined };
}

const startedAction = "tenant.import_started";
const rememberedDays = 30;

/** Committed before the first file is written: of an import that is killed, nothing else says whose files it left. */
export async function recordStart(connection: ImportConnection, origin: ImportOrigin): Promise<void> {
  await append(connection, platformTenantId, startedAction, "tenant", origin.tenantId, origin);
}

export async function recordImport(connection: ImportConnection, origin: ImportOrigin): Promise<void> {
  await append(connection, platformTenantId, "tenant.imported", "tenant", origin.tenantId, origin);
  await append(connection, origin.tenantId, "export.imported", "export", origin.exportId, origin);
}

async function append(
  connection: ImportConnection,
  tenantId: string,
  action: string,
  targetType: string,
  targetId: string,
  { exportId, exportedTenantId, bagDigest, signature }: ImportOrigin,
): Promise<void> {
  const details = {
    export_id: exportId,
    exported_tenant_id: exportedTenantId,
    bag_digest: bagDigest,
    signature: signature.state,
    signed_by: signature.kid ?? null,
  };
  // Whoever may write as the owner of the schema is the operator.
  await connection.run(
    `insert into audit_log (tenant_id, id, actor_type, action, target_type, target_id, details)
     values ($1, $2, 'operator', $3, $4, $5, $6)`,
    [tenantId, newUuid(), action, targetType, targetId, JSON.stringify(details)],
  );
}

/** Tenants that an import began with in the last days and that are not there: it failed, was killed, or is under way. */
export function findUnfinishedImports(database: Database): Promise<string[]> {
  return database.inTenant(platformTenantId, async (tx) => {
    const rows = await tx
      .selectFrom("audit_log")
      .select("target_id")
      .distinct()
      .where("tenant_id", "=", platformTenantId)
      .where("action", "=", startedAction)
      .where("created_at", ">", sql<Date>`now() - make_interval(days => ${rememberedDays})`)
      .where(({ not, exists, selectFrom }) =>
        not(exists(selectFrom("tenants").whereRef(sql`tenants.id::text`, "=", "audit_log.target_id"))),
      )
      .execute();
    return rows.flatMap(({ target_id }) => target_id ?? []);
  });
}

/**
 * Runs `work`, of seconds, while nobody can import the tenant. Gives undefined without running it if the tenant is being
 * imported or is there.
 */
export function whileNotImported<T>(
  database: Database,
  tenantId: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  return database.inTenant(platformTenantId, async (tx) => {
    const kind = { operation: "lock", table: "none" } as const;
    const text = "select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as locked";
    const lock = await tx.executeQuery<{ locked: boolean }>(queryOfKind(kind, text, [importLock(tenantId)]));
    if (lock.rows[0]?.locked !== true) return undefined;
    // Asked under the lock: the import may have ended well since it was found.
    const tenant = await tx.selectFrom("tenants").select("id").where("id", "=", tenantId).executeTakeFirst();
    return tenant === undefined ? work() : undefined;
  });
}
