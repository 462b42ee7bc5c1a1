import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectTo } from "../../../tests/postgres/connect.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { createRowDigest, formatDigest, sumOfNumeric } from "./row-digest.ts";

let testDatabase: TestDatabase;
let owner: pg.Client;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  owner = await connectTo(testDatabase.ownerUrl);
});
afterAll(async () => {
  await owner.end();
  await testDatabase.drop();
});

/** What PostgreSQL itself gives for each. */
async function hashesOf(texts: readonly string[]): Promise<bigint[]> {
  const { rows } = await owner.query(
    `select hashtextextended(t collate "C", 0)::text as hash from unnest($1::text[]) with ordinality u (t, n) order by n`,
    [texts],
  );
  return rows.map(({ hash }) => BigInt.asUintN(64, BigInt(hash)));
}

function digestOf(text: string): bigint {
  const digest = createRowDigest();
  // Not at the beginning of its buffer.
  const bytes = Buffer.from(`x${text}y`);
  digest.add(bytes, 1, bytes.length - 1);
  return digest.sum;
}

/** The same, the row cut at these places. */
function digestInPieces(text: string, cuts: readonly number[]): bigint {
  const bytes = Buffer.from(text);
  const digest = createRowDigest();
  digest.beginPieces(bytes.length);
  const ends = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    digest.piece(bytes, start, end);
    start = end;
  }
  digest.endPieces();
  expect(digest.rows).toBe(1);
  return digest.sum;
}

test("texts of every length up to 200 bytes have PostgreSQL's hash", async () => {
  const texts = Array.from({ length: 201 }, (_, length) =>
    Array.from({ length }, (_, i) => String.fromCharCode(1 + ((i * 37 + length * 11) % 127))).join(""),
  );
  expect(texts.map(digestOf)).toEqual(await hashesOf(texts));
});

test("any text has PostgreSQL's hash, whole and in any pieces", async () => {
  const text = fc.string({ unit: "binary", maxLength: 200 }).map((value) => value.replaceAll("\0", "0"));
  const row = fc.record({ text, cuts: fc.array(fc.nat(1_000), { maxLength: 8 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 50 }), async (rows) => {
      const hashes = await hashesOf(rows.map(({ text }) => text));
      expect(rows.map(({ text }) => digestOf(text))).toEqual(hashes);
      expect(rows.map(({ text, cuts }) => digestInPieces(text, cuts))).toEqual(hashes);
    }),
    { numRuns: 60 },
  );
});

test("the sum over many rows is PostgreSQL's, modulo 2^64 and without rounding", async () => {
  // Past 2^53 if the halves of the hashes were summed as doubles alone.
  const count = 5_000_000;
  const { rows } = await owner.query(
    `select sum(hashtextextended(n::text collate "C", 0))::text as sum from generate_series(1, $1) n`,
    [count],
  );
  const digest = createRowDigest();
  const buffer = Buffer.alloc(8);
  for (let n = 1; n <= count; n++) digest.add(buffer, 0, buffer.write(String(n), "latin1"));
  expect(digest.rows).toBe(count);
  expect(digest.sum).toBe(sumOfNumeric(rows[0].sum));
});

test("the order of rows does not matter, and what was reset is forgotten", () => {
  const [a, b] = [Buffer.from("first"), Buffer.from("second row")] as const;
  const digest = createRowDigest();
  digest.add(a, 0, a.length);
  digest.add(b, 0, b.length);
  const { sum } = digest;
  digest.reset();
  expect(digest).toMatchObject({ rows: 0, sum: 0n });
  digest.add(b, 0, b.length);
  digest.add(a, 0, a.length);
  expect(digest.sum).toBe(sum);
});

test("pieces that are not as long as the row are refused", () => {
  const digest = createRowDigest();
  digest.beginPieces(5);
  digest.piece(Buffer.from("four"), 0, 4);
  expect(() => digest.endPieces()).toThrow("lack 1 bytes");
});

test("a digest is 16 hexadecimal digits, also of a negative sum and of one past 2^64", () => {
  expect(formatDigest(0n)).toBe("0000000000000000");
  expect(formatDigest(255n)).toBe("00000000000000ff");
  expect(formatDigest(sumOfNumeric("-1"))).toBe("ffffffffffffffff");
  expect(formatDigest(sumOfNumeric("18446744073709551617"))).toBe("0000000000000001");
  expect(() => sumOfNumeric("1.5")).toThrow("1.5");
  expect(() => sumOfNumeric("")).toThrow(TypeError);
});
