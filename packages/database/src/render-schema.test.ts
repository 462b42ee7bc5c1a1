import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { renderSchema } from "./render-schema.ts";

let opened: OpenTestDatabase;
let client: pg.Client;
beforeAll(async () => {
  opened = await openTestDatabase();
  client = opened.owner;
});
afterAll(() => opened.close());

// After a change of the schema: npx vitest run packages/database/src/render-schema.test.ts -u
test("schema.ts is what the migrated schema renders to", async () => {
  await expect(await renderSchema(client)).toMatchFileSnapshot("./schema.ts");
});

test("a column of a type that has no TypeScript type yet is refused", async () => {
  await client.query("begin");
  await client.query("alter table files add column place point");
  await expect(renderSchema(client)).rejects.toThrow("column place has type point");
  await client.query("rollback");
});
