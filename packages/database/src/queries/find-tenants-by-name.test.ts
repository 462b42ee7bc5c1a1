import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import type { Database } from "../database.ts";
import { findTenantsByName } from "./find-tenants-by-name.ts";
import { createTenant } from "./tenants.ts";

let opened: OpenTestDatabase;
let database: Database;
beforeAll(async () => {
  opened = await openTestDatabase();
  database = opened.database;
});
afterAll(() => opened.close());

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
