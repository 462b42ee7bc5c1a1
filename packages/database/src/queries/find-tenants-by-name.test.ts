import { createLogging } from "@ectus/core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { type Database, openDatabase } from "../database.ts";
import { findTenantsByName } from "./find-tenants-by-name.ts";
import { createTenant } from "./tenants.ts";

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("test");
let postgres: TestDatabase;
let database: Database;
beforeAll(async () => {
  postgres = await createTestDatabase();
  database = openDatabase({ url: postgres.appUrl, poolSize: 2, log });
});
afterAll(async () => {
  await database.close();
  await postgres.drop();
});

test("tenants with exactly this name are found, the oldest first, and never the platform", async () => {
  const actor = { actor: { type: "system" } } as const;
  const made: string[] = [];
  for (const name of ["Twin", "Twin", "twin", "Twin"])
    made.push((await createTenant(database, { name }, actor)).id);
  const find = async (name: string, limit: number) =>
    (await findTenantsByName(database, name, limit)).map(({ id }) => id);
  expect(await find("Twin", 9)).toEqual([made[0], made[1], made[3]]);
  expect(await find("Twin", 2)).toEqual([made[0], made[1]]);
  expect(await find("%", 9)).toEqual([]);
  expect(await find("platform", 9)).toEqual([]);
});
