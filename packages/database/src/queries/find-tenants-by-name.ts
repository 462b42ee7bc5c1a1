// Finds tenants by their exact name, for people who do not remember ids. Names need not be unique.
import { type Database, platformTenantId } from "../database.ts";
import type { TenantRecord } from "./tenants.ts";

/** At most `limit` tenants with this name, the oldest first. */
export function findTenantsByName(database: Database, name: string, limit: number): Promise<TenantRecord[]> {
  return database.inTenant(platformTenantId, (tx) =>
    tx
      .selectFrom("tenants")
      .selectAll()
      .where("name", "=", name)
      .where("id", "!=", platformTenantId)
      .orderBy("id")
      .limit(limit)
      .execute(),
  );
}
