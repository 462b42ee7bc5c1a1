// A database of its own for each test file, cloned from the template in some 20 ms.
import { randomBytes } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";
import { app, owner, templateDatabase, urlAs } from "./template.ts";

export interface TestDatabase {
  readonly databaseName: string;
  /** As the role that owns the schema. */
  readonly ownerUrl: string;
  /** As the role that the platform runs as, under row security. */
  readonly appUrl: string;
  /** Cuts the connections that are left and removes the database. Idempotent. */
  readonly drop: () => Promise<void>;
}

/** Clones the template. The caller drops the database when its tests end, whether they passed or not. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const superuserUrl = inject("superuserUrl");
  const databaseName = `test_${randomBytes(6).toString("hex")}`;
  await execute(
    superuserUrl,
    `CREATE DATABASE ${databaseName} TEMPLATE ${templateDatabase} OWNER ${owner.role}`,
  );
  return {
    databaseName,
    ownerUrl: urlAs(superuserUrl, owner, databaseName),
    appUrl: urlAs(superuserUrl, app, databaseName),
    drop: () => execute(superuserUrl, `DROP DATABASE IF EXISTS ${databaseName} WITH (FORCE)`),
  };
}

async function execute(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
