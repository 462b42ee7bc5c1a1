import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { describeStatement, withoutValues } from "./statement-text.ts";

let testDatabase: TestDatabase;
let client: pg.Client;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  client = new pg.Client({ connectionString: testDatabase.ownerUrl });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await testDatabase.drop();
});

test.each([
  ["select 1", "select ?"],
  ["select * from t where a = 'x' and b = $1", "select * from t where a = ? and b = ?"],
  ["select 'it''s', e'a\\'b', E'\\\\', b'01', x'FF', n'n', U&'d\\0061t'", "select ?, ?, ?, ?, ?, ?, ?"],
  ["select e'one\\''\n  'two\\'three', 4", "select ?, ?"],
  ["select e'one' -- note\n -- note\n 'two\\'secret', 'three'", "select ?, ?"],
  ["select 'one' -- note\r\f'two', 'three' 'four'", "select ?, ? ?"],
  ["select \u00a0e'\\', 'secret'", "select \u00a0e?, ?"],
  ["select $$a'b$$, $tag$ $$ $tag$, 5", "select ?, ?, ?"],
  ["select 1.5, .5, 1e10, 1.5E-3, 0xFF, 1_000, -7", "select ?, ?, ?, ?, ?, ?, -?"],
  ["select utf8, int4, col1, a$b1 from t2", "select utf8, int4, col1, a$b1 from t2"],
  ['select "a ""b"" 1", U&"d" from "T 1"', 'select "a ""b"" 1", U&"d" from "T 1"'],
  ["select 1 -- secret 5\n, 2 /* a /* nested */ 'secret */ , 3", "select ? , ? , ?"],
  ["select  a\n\tfrom   t", "select a from t"],
  ["select * from t where id in ($1, $2,$3)", "select * from t where id in (…)"],
  ["select * from t where id in ($1)", "select * from t where id in (…)"],
  ["insert into t (a, b) values ($1, $2), ($3, default)", "insert into t (a, b) values (…)"],
  ["select $1::uuid, f($2, a)", "select ?::uuid, f(?, a)"],
  ["select 'never ends", "select ?"],
  ["select e'never ends\\", "select ?"],
  ["select $x$never ends", "select ?"],
  ["select 1 /* never ends", "select ?"],
])("%j is shown as %j", (text, shown) => {
  expect(withoutValues(text)).toBe(shown);
});

test("statements that differ only in values have one fingerprint, others have not", () => {
  const of = (text: string): string => describeStatement(text).fingerprint;
  expect(of("select a from t where b in ($1, $2) limit $3")).toBe(
    of("select a from t where b in ($1) limit 10"),
  );
  expect(of("select a from t where b = 'x'")).toBe(of("select a\nfrom t where b = 'other' -- note"));
  expect(of("select a from t where b = $1")).not.toBe(of("select a from t where c = $1"));
  expect(of("select a")).toMatch(/^[\da-f]{16}$/);
});

test("a long text is cut, and of one without end only the beginning is read", () => {
  const begin = `select ${"a, ".repeat(10_000)}`;
  const described = describeStatement(begin);
  expect(described.shown).toHaveLength(1_000);
  expect(describeStatement(begin + "b, ".repeat(1_000_000))).toEqual(described);
});

test.each([
  ["line ends after a string", `select e'x'${"\n".repeat(20_000)}`],
  ["strings that might go on", `select e'${"'\n--".repeat(5_000)}`],
  ["strings that go on", `select e'${"'\n'".repeat(5_000)}`],
  ["lists that do not end", `select ${"($1, default".repeat(2_000)}`],
  ["comments that do not end", "/*".repeat(10_000)],
  ["dollar quotes that do not end", "$a$b".repeat(5_000)],
])("a text of 20,000 characters is read in milliseconds: %s", (_, text) => {
  const { user } = process.cpuUsage();
  describeStatement(text);
  // Where the time grows with the square of the length it takes 200 ms.
  expect((process.cpuUsage().user - user) / 1_000).toBeLessThan(60);
});

// Literals as PostgreSQL itself writes them, and in the other forms that its lexer knows.
const marked = fc
  .string({
    unit: fc.constantFrom("'", '"', "\\", "$", "-", "/", "*", "e", " ", "\n", "é", "Q"),
    maxLength: 12,
  })
  .map((text) => `${text}Zecret${text}`);
const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("'", "\\'");
const goingOn = fc.constantFrom("\n", " \r\n\t", " -- it's\n", "\n--'\n -- e'\n");
const literal = fc.oneof(
  fc.tuple(marked, goingOn, marked).map(([one, gap, two]) => `e'${escaped(one)}'${gap}'${escaped(two)}'`),
  fc
    .tuple(marked, goingOn, marked)
    .map(([one, gap, two]) => `'${one.replaceAll("'", "''")}'${gap}'${two.replaceAll("'", "''")}'`),
  marked.map((text) => pg.escapeLiteral(text).trim()),
  marked.map((text) => `e'${escaped(text)}'`),
  marked.map((text) => `e'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`),
  marked.filter((text) => !text.includes("$")).map((text) => `$q$${text}$q$`),
  marked.filter((text) => !text.includes("$")).map((text) => `$$${text}$$`),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }).map(String),
  fc.bigInt({ min: 0n, max: 2n ** 62n }).map(String),
  fc.nat().map((value) => `0x${value.toString(16)}`),
);
const gap = fc.oneof(
  fc.constantFrom(" ", "\n", "\t "),
  marked
    .filter((text) => !/\*\/|\/\*|\/$|^\//.test(text))
    .map((text) => ` /* ${text.replaceAll("/", "")} */ `),
  marked.map((text) => ` -- ${text.replaceAll("\n", "")}\n`),
);

test("nothing of a literal or a comment is left, and what the server takes as one statement has one fingerprint", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(gap, literal), { minLength: 1, maxLength: 5 }), async (columns) => {
      const text = `select${columns.map(([space, value], index) => `${space}${value} as c${index}`).join(",")}`;
      // So it is SQL, with as many columns as there are literals: the lexer of the test is not wrong itself.
      const { fields } = await client.query(text);
      expect(fields).toHaveLength(columns.length);
      const plain = columns.map((_, index) => `? as c${index}`).join(", ");
      expect(withoutValues(text).replaceAll(/\s+/g, " ")).toBe(`select ${plain}`);
    }),
    { numRuns: 500 },
  );
});

test("any text is taken, and does not get longer", () => {
  const piece = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom("'", "$$", "/*", "*/", "--", '"', "e'", "$1"),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const once = withoutValues(pieces.join(""));
      expect(once.length).toBeLessThanOrEqual(pieces.join("").length + 1);
    }),
  );
});
