import { afterAll, beforeAll, expect, test } from "vitest";
import { type Connection, connectTo } from "../../../../tests/postgres/connect.ts";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { holdLock } from "./table-lock.ts";

let database: TestDatabase;
let other: Connection;
beforeAll(async () => {
  database = await createTestDatabase();
  other = await connectTo(database.ownerUrl);
  await other.query("set lock_timeout = '100ms'");
});
afterAll(async () => {
  await other.end();
  await database.drop();
});

const read = () => other.query("select count(*) from completions");

test("nobody reads a table while its lock is held, and everybody once it is released", async () => {
  const lock = await holdLock(database.ownerUrl, "completions");
  await expect(read()).rejects.toMatchObject({ code: "55P03" });
  await lock.release();
  await lock.release();
  expect((await read()).rowCount).toBe(1);
});

test("a table that there is none of is told, and leaves no connection", async () => {
  await expect(holdLock(database.ownerUrl, "nothing")).rejects.toThrow('relation "nothing" does not exist');
  const { rows } = await other.query(
    "select from pg_stat_activity where datname = current_database() and application_name = 'drill'",
  );
  expect(rows).toEqual([]);
});
