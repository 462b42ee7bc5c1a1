// A test database with the two ways in that most tests need: as the application, and as the owner who sees everything.
import { type Database, openDatabase } from "@ectus/database";
import pg from "pg";
import { recordingLog } from "./recording-log.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

export interface OpenTestDatabase extends TestDatabase {
  readonly database: Database;
  /** Connected as the owner of the schema. */
  readonly owner: pg.Client;
  /** Closes both and drops the database. */
  readonly close: () => Promise<void>;
}

export async function openTestDatabase(poolSize = 4): Promise<OpenTestDatabase> {
  const testDatabase = await createTestDatabase();
  const database = openDatabase({ url: testDatabase.appUrl, poolSize, log: recordingLog().log });
  const owner = new pg.Client({ connectionString: testDatabase.ownerUrl });
  await owner.connect();
  return {
    ...testDatabase,
    database,
    owner,
    async close() {
      await owner.end();
      await database.close();
      await testDatabase.drop();
    },
  };
}
