import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { arrayElement } from "./composite-literal.ts";

let opened: OpenTestDatabase;
let client: pg.Client;
beforeAll(async () => {
  opened = await openTestDatabase();
  client = opened.owner;
  await client.query("create type sample as (a text, b integer, c boolean, d text)");
});
afterAll(() => opened.close());

test("fields are written as PostgreSQL's manual writes them", () => {
  expect(arrayElement(["plain", 1, true, null])).toBe('"(plain,1,true,)"');
  expect(arrayElement(["", null])).toBe('"(\\"\\",)"');
  expect(arrayElement(['a"b', "c\\d"])).toBe(
    '"(\\"a\\"\\"b\\",\\"c\\\\\\\\d\\")"'.replace('a\\"\\"b', 'a\\"\\"b'),
  );
});

test("PostgreSQL reads back whatever was written", async () => {
  const text = fc.option(
    fc
      .oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^["\\(),{} \n]*$/))
      .map((value) => value.toWellFormed().replaceAll("\u0000", "")),
    { nil: null },
  );
  const row = fc.record({
    a: text,
    b: fc.option(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { nil: null }),
    c: fc.boolean(),
    d: text,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 4 }), async (rows) => {
      const literal = `{${rows.map(({ a, b, c, d }) => arrayElement([a, b, c, d])).join(",")}}`;
      const read = await client.query("select * from unnest($1::sample[])", [literal]);
      expect(read.rows).toEqual(rows);
    }),
    { numRuns: 300 },
  );
});
