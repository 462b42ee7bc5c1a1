import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../../tests/postgres/open-test-database.ts";
import type { Database } from "../database.ts";
import { insertSigningKeys, listSigningKeys, type SigningKeyRow } from "./signing-keys.ts";

let opened: OpenTestDatabase;
let database: Database;
beforeAll(async () => {
  opened = await openTestDatabase();
  database = opened.database;
});
afterAll(() => opened.close());

function makeKey(): SigningKeyRow {
  const publicKey = randomBytes(32);
  return { kid: createHash("sha256").update(publicKey).digest("base64url"), publicKey };
}

test("keys are kept once, the newest first, however often and by however many they are added", async () => {
  const older = Array.from({ length: 8 }, makeKey);
  const newest = makeKey();
  expect(await listSigningKeys(database)).toEqual([]);
  await insertSigningKeys(database, older);
  expect(await listSigningKeys(database)).toEqual(older);
  const orders = [[newest, ...older], [newest, ...older.toReversed()], [newest]];
  await Promise.all(orders.flatMap((keys) => [keys, keys]).map((keys) => insertSigningKeys(database, keys)));
  expect(await listSigningKeys(database)).toEqual([newest, ...older]);
  await insertSigningKeys(database, []);
  expect(await listSigningKeys(database)).toHaveLength(9);
});

test("the application may neither change nor remove a key", async () => {
  const key = makeKey();
  await insertSigningKeys(database, [key]);
  for (const text of [
    "delete from signing_keys",
    "update signing_keys set kid = 'x'",
    "truncate signing_keys",
  ]) {
    const changing = database.run({ text, values: [], operation: "test", table: "signing_keys" });
    await expect(changing, text).rejects.toThrow("permission denied");
  }
  expect(await listSigningKeys(database)).toContainEqual(key);
});

test("a key that is none is refused", async () => {
  const short = { kid: "short", publicKey: Buffer.alloc(31) };
  await expect(insertSigningKeys(database, [short])).rejects.toMatchObject({ code: "23514" });
});
