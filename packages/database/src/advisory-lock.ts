// Lets one of several instances do something at a time, by a lock in the database that ends with the connection.
import { type Database, platformTenantId } from "./database.ts";
import { queryOfKind } from "./statement-kind.ts";

/**
 * Runs `work` while no other instance on the same database runs work under the same name. For work of seconds: the
 * server ends a wait for the lock after 30 s, and the transaction that holds it after it was idle for 60 s.
 */
export function underAdvisoryLock<T>(database: Database, name: string, work: () => Promise<T>): Promise<T> {
  return database.inTenant(platformTenantId, async (tx) => {
    const kind = { operation: "lock", table: "none" } as const;
    const text = "select pg_advisory_xact_lock(hashtextextended($1, 0))";
    await tx.executeQuery(queryOfKind(kind, text, [`ectus ${name}`]));
    return work();
  });
}
