import pg from "pg";
import { afterEach, expect, inject, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

const databases: TestDatabase[] = [];
afterEach(async () => {
  for (const database of databases.splice(0)) await database.drop();
});

async function create(): Promise<TestDatabase> {
  const database = await createTestDatabase();
  databases.push(database);
  return database;
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

test("test databases do not see each other's tables", async () => {
  const [one, other] = await Promise.all([create(), create()]);
  await query(one.ownerUrl, "CREATE TABLE only_here (id int)");
  const found = "SELECT to_regclass('only_here') IS NOT NULL AS found";
  expect(await query(one.ownerUrl, found)).toEqual([{ found: true }]);
  expect(await query(other.ownerUrl, found)).toEqual([{ found: false }]);
});

test("the app's role cannot pass row security, the owner's can, and neither is a superuser", async () => {
  const { appUrl, ownerUrl } = await create();
  const role = "SELECT rolbypassrls, rolsuper FROM pg_roles WHERE rolname = current_user";
  expect(await query(appUrl, role)).toEqual([{ rolbypassrls: false, rolsuper: false }]);
  expect(await query(ownerUrl, role)).toEqual([{ rolbypassrls: true, rolsuper: false }]);
});

test("drop removes the database though a connection is open, and again does nothing", async () => {
  const { drop, appUrl, databaseName } = await create();
  const client = new pg.Client({ connectionString: appUrl });
  const cut = new Promise((resolve) => client.on("error", resolve));
  await client.connect();
  await drop();
  await cut;
  await drop();
  expect(
    await query(inject("superuserUrl"), `SELECT 1 FROM pg_database WHERE datname = '${databaseName}'`),
  ).toEqual([]);
});
