// Looks at migrated, changed and empty databases.
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { findSchemaFault, inspectDatabase } from "./inspect-database.ts";

let database: TestDatabase;
let owner: pg.Client;
let superuser: pg.Client;
beforeAll(async () => {
  superuser = new pg.Client({ connectionString: inject("superuserUrl") });
  await superuser.connect();
});
afterAll(() => superuser.end());
beforeEach(async () => {
  database = await createTestDatabase();
  owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
});
afterEach(async () => {
  await owner.end();
  await database.drop();
});

const inspect = (more: Partial<Parameters<typeof inspectDatabase>[0]> = {}) =>
  inspectDatabase({ url: database.appUrl, ownerUrl: database.ownerUrl, monthsAhead: 2, ...more });

test("a migrated database is as it should be", async () => {
  expect(await findSchemaFault(database.appUrl)).toBeUndefined();
  expect(await inspect()).toEqual({
    serverVersion: expect.any(Number),
    schemaFault: undefined,
    rowSecurityFaults: [],
    dataMapFaults: [],
    partitions: [
      { table: "usage", missingMonths: [], defaultHasRows: false },
      { table: "audit_log", missingMonths: [], defaultHasRows: false },
    ],
  });
});

test("a month without a partition is named", async () => {
  const now = () => new Date("2099-11-30T23:30:00Z");
  const { partitions } = await inspect({ now });
  expect(partitions[0]?.missingMonths).toEqual(["2099-11", "2099-12", "2100-01"]);
});

test("rows in the default partition are seen, and only by the owner", async () => {
  await owner.query(
    "insert into audit_log (tenant_id, id, created_at, actor_type, action, target_type) values (gen_random_uuid(), gen_random_uuid(), '2020-01-01', 'system', 'x', 'x')",
  );
  expect((await inspect()).partitions[1]?.defaultHasRows).toBe(true);
  expect((await inspect({ ownerUrl: database.appUrl })).partitions[1]?.defaultHasRows).toBeUndefined();
});

test("a table without row security is named", async () => {
  await owner.query("alter table files no force row level security");
  expect((await inspect()).rowSecurityFaults).toEqual(["the table files has no row security"]);
});

test("a column that the data map lacks is named", async () => {
  await owner.query("alter table users add column phone text");
  expect((await inspect()).dataMapFaults).toEqual([expect.stringContaining("The column phone of users")]);
});

test("a login that may not become the application's role is told", async () => {
  const name = `stranger_${database.databaseName}`;
  await superuser.query(`create role ${name} login password 'x'`);
  try {
    await owner.query(`grant usage on schema public to ${name}`);
    await owner.query(`grant select on schema_migrations to ${name}`);
    const url = new URL(database.appUrl);
    url.username = name;
    url.password = "x";
    expect((await inspect({ url: url.href })).rowSecurityFaults).toEqual([
      "the role of DATABASE_URL may not become ectus_app, as which the application runs",
    ]);
  } finally {
    await owner.query(`revoke all on schema_migrations from ${name}`).catch(() => {});
    await owner.query(`revoke all on schema public from ${name}`).catch(() => {});
    await superuser.query(`drop role ${name}`);
  }
});

test("a database that was not migrated is told, and no more is looked at", async () => {
  await owner.query("drop table schema_migrations");
  expect(await inspect()).toMatchObject({
    schemaFault: expect.stringContaining("has not been migrated"),
    rowSecurityFaults: [],
    partitions: [],
  });
  expect(await findSchemaFault(database.appUrl)).toContain("has not been migrated");
});

test("a database that does not answer rejects", async () => {
  await expect(inspect({ url: "postgres://x@127.0.0.1:1/x" })).rejects.toThrow("ECONNREFUSED");
});
