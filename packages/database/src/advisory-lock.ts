// Lets one of several instances do something at a time, by a lock in the database that ends with the connection.
import { sql } from "kysely";
import { type Database, platformTenantId } from "./database.ts";

/**
 * Runs `work` while no other instance on the same database runs work under the same name. For work of seconds: the
 * server ends a wait for the lock after 30 s, and the transaction that holds it after it was idle for 60 s.
 */
export function underAdvisoryLock<T>(database: Database, name: string, work: () => Promise<T>): Promise<T> {
  return database.inTenant(platformTenantId, async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`ectus ${name}`}, 0))`.execute(tx);
    return work();
  });
}
