// The two paths of an export, which have to write every row alike: what COPY gives, and the lines of which the second
// path sums the digests.
import { newUuid } from "@ectus/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { dataMap, exportedColumns } from "./data-map.ts";
import { type LiveSchema, readSchema } from "./data-map-check.ts";
import type { MappedTable, TableEntry } from "./data-map-entry.ts";
import { copyStatement, digestStatement, type RowSelection } from "./export-statements.ts";
import type { Snapshot } from "./snapshot.ts";

const tables = (Object.entries(dataMap) as [MappedTable, TableEntry][])
  .filter(([, { exported }]) => exported === true)
  .map(([table]) => table);
const formats = ["ndjson", "csv"] as const;
const blockBytes = 50_000;

const text = fc.oneof(
  fc.string({ unit: "binary" }).map((any) => any.replaceAll("\0", "")),
  fc.constantFrom("", " ", '"', '""', "\\", "\\N", "\\.", "\\.\n", "\n", "\r\n", "NULL", "null", "{a,b}"),
  fc.constantFrom(
    "\u0001\b\t\v\f\u001f\u007f",
    "\u0080\u0085\u2028\u2029\ufeff",
    "👩‍👩‍👧‍👦 𝔘 e\u0301",
    "</script>",
    "'; --",
  ),
);
const json = fc.oneof(
  fc.jsonValue({ stringUnit: "binary" }).map((value) => JSON.stringify(value).replaceAll("\\u0000", "")),
  fc.constantFrom(
    "null",
    "true",
    '""',
    "[]",
    "{}",
    '{"": null}',
    "1e400",
    "-0",
    "1.500",
    "123456789012345678901234567890.1",
  ),
);
/** Texts or buffers of each type that is exported. */
const values: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  uuid: fc.uuid(),
  text,
  _text: fc.oneof(
    fc.array(fc.option(text), { maxLength: 4 }),
    fc.constantFrom("{}", "{NULL}", '{"NULL",null,""}', "[2:3]={a,b}", '{{a,"b \\" c"},{"{",NULL}}'),
  ),
  bool: fc.boolean(),
  int2: fc.oneof(fc.integer({ min: -32_768, max: 32_767 }), fc.constantFrom(-32_768, 32_767)),
  int4: fc.oneof(fc.integer(), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1)),
  int8: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
  numeric: fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.constantFrom("NaN", "Infinity", "-Infinity", "1.500000000000", "-0.000000000001", "1e100", "0.0"),
  ),
  date: fc.oneof(
    fc.date({ noInvalidDate: true, min: new Date("0001-01-02Z"), max: new Date("9999-12-30Z") }).map(isoDate),
    fc.constantFrom(
      "infinity",
      "-infinity",
      "0044-03-15 BC",
      "4713-01-01 BC",
      "12026-01-01",
      "5874897-12-31",
    ),
  ),
  timestamptz: fc.oneof(
    fc
      .tuple(
        fc.date({ noInvalidDate: true, min: new Date("0001-01-02Z"), max: new Date("9999-12-30Z") }),
        fc.nat(999_999),
      )
      .map(([day, micros]) => `${isoDate(day)} 12:34:56.${String(micros).padStart(6, "0")}+00`),
    fc.constantFrom(
      "infinity",
      "-infinity",
      "0044-03-15 12:00:00.5 BC",
      "294276-12-31 23:59:59.999999",
      "2026-01-01 00:00:00",
    ),
  ),
  jsonb: json,
  bytea: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
};

function isoDate(day: Date): string {
  return day.toISOString().slice(0, 10);
}

let open: OpenTestDatabase;
let schema: LiveSchema;
const ids = { withNulls: newUuid(), withoutNulls: newUuid() };

beforeAll(async () => {
  open = await openTestDatabase();
  schema = await readSchema((query) => open.database.run(query));
  await liftConstraints();
  for (const table of tables) {
    await fill(table, ids.withNulls, fc.option);
    await fill(table, ids.withoutNulls, (value) => value);
  }
});
afterAll(() => open.close());

/** So that any value of its type may be in each column. */
async function liftConstraints(): Promise<void> {
  const ofTables = "relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition";
  for (const statements of [
    `select format('alter table %s drop constraint if exists %I cascade', conrelid::regclass, conname) as text
     from pg_constraint join pg_class on pg_class.oid = conrelid
     where ${ofTables} and contype in ('c', 'f', 'p', 'u')`,
    `select format('drop index %s', indexrelid::regclass) as text
     from pg_index join pg_class on pg_class.oid = indrelid where ${ofTables} and indisunique`,
    `select format('alter table %s alter column %I drop not null', attrelid::regclass, attname) as text
     from pg_attribute join pg_class on pg_class.oid = attrelid where ${ofTables} and attnum > 0 and attnotnull`,
    `select format('alter table %s alter column %I type numeric', attrelid::regclass, attname) as text
     from pg_attribute join pg_class on pg_class.oid = attrelid where ${ofTables} and atttypid = 'numeric'::regtype`,
  ]) {
    const { rows } = await open.owner.query<{ text: string }>(statements);
    for (const { text } of rows) await open.owner.query(text);
  }
}

async function fill(
  table: MappedTable,
  tenantId: string,
  nullable: (value: fc.Arbitrary<unknown>) => fc.Arbitrary<unknown>,
): Promise<void> {
  const tenantColumn = tenantColumnOf(table);
  const names = [tenantColumn, ...exportedColumns(table).filter((name) => name !== tenantColumn)];
  const types = schema[table].columns;
  // The column by which its partition is chosen cannot be null.
  const row = fc.tuple(
    ...names
      .slice(1)
      .map((name) => (name === "created_at" ? valuesOf(types[name]) : nullable(valuesOf(types[name])))),
  );
  for (const values of fc.sample(row, 120))
    await open.owner.query(
      `insert into "${table}" (${names.map((name) => `"${name}"`)}) values (${names.map((name, index) => `$${index + 1}::${types[name]}`)})`,
      [tenantId, ...values],
    );
}

function valuesOf(type = ""): fc.Arbitrary<unknown> {
  const found = values[type];
  if (found === undefined) throw new Error(`there are no values of the type ${type}`);
  return found;
}

function tenantColumnOf(table: MappedTable): string {
  const { tenant } = dataMap[table] as TableEntry;
  if (!("column" in tenant)) throw new Error(`${table} has no rows of tenants`);
  return tenant.column;
}

const settings = (tenantId: string) => ({ "ectus.export_tenant": tenantId });

const inSnapshot = <T>(tenantId: string, work: (snapshot: Snapshot) => Promise<T>): Promise<T> =>
  open.database.inSnapshot({ tenantId, tables: [], readers: 1 }, work);

describe.each(tables)("%s", (table) => {
  test.each(formats)("as %s has the same lines by both paths", async (format) => {
    const types = schema[table].columns;
    for (const [tenantId, required] of [
      [ids.withNulls, undefined],
      [ids.withoutNulls, undefined],
      [ids.withoutNulls, Object.keys(types)],
      [ids.withoutNulls, Object.keys(types).filter((_, index) => index % 2 === 0)],
    ] as const) {
      const rows: RowSelection = { table, types, ...(required === undefined ? {} : { required }) };
      const { copied, summed } = await inSnapshot(tenantId, async ({ readers: [reader] }) => {
        const copy = {
          text: copyStatement(rows, format),
          table,
          settings: settings(tenantId),
          format,
          blockBytes,
        };
        const blocks: Buffer[] = [];
        for await (const { bytes } of reader.copyRows(copy)) blocks.push(bytes);
        // The lines themselves, of which the statement sums the digests.
        const lines = /from \((select .+)\) lines$/s.exec(digestStatement(rows, format))?.[1] as string;
        const found = await reader.query<{ line: string }>({
          text: lines,
          values: [],
          operation: "test",
          table,
        });
        return { copied: Buffer.concat(blocks).toString(), summed: found.map(({ line }) => line) };
      });
      const lineEnd = format === "csv" ? "\r\n" : "\n";
      expect(summed).toHaveLength(120);
      // Lines of texts with line ends in them are not to be split: the order of both is the same if it is sorted whole.
      expect(copied.length).toBe(summed.reduce((sum, line) => sum + line.length + lineEnd.length, 0));
      for (const line of summed) expect(copied.includes(`${line}${lineEnd}`), line).toBe(true);
      if (format === "ndjson")
        expect(copied.split(lineEnd).slice(0, -1).toSorted()).toEqual(summed.toSorted());
    }
  });
});
