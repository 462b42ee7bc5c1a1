// Lets one of several instances do something at a time, by a lock in the database that ends with the connection.
import { sql } from "kysely";
import { type Database, platformTenantId } from "./database.ts";

/** Runs `work` while no other instance on the same database runs work under the same name. */
export function underAdvisoryLock<T>(database: Database, name: string, work: () => Promise<T>): Promise<T> {
  return database.inTenant(platformTenantId, async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended(${`ectus ${name}`}, 0))`.execute(tx);
    return work();
  });
}
