import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { renderSchema } from "./render-schema.ts";

let database: TestDatabase;
let client: pg.Client;
beforeAll(async () => {
  database = await createTestDatabase();
  client = new pg.Client({ connectionString: database.ownerUrl });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

// After a change of the schema: npx vitest run -u packages/database/src/render-schema.test.ts
test("schema.ts is what the migrated schema renders to", async () => {
  await expect(await renderSchema(client)).toMatchFileSnapshot("./schema.ts");
});

test("a column of a type that has no TypeScript type yet is refused", async () => {
  await client.query("begin");
  await client.query("alter table files add column place point");
  await expect(renderSchema(client)).rejects.toThrow("column place has type point");
  await client.query("rollback");
});
