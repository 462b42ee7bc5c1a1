// What must hold of the data map by itself, and what of it hangs on the schema but is no fault of a database.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenTestDatabase, openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { dataMap, exportedColumns, exportedTables, retentionClasses } from "./data-map.ts";
import type { AnyDataMap, AnyTableEntry } from "./data-map-check.ts";
import type { ColumnEntry, MappedTable, TableEntry } from "./data-map-entry.ts";

const map: AnyDataMap = dataMap;
const tables = Object.keys(map) as MappedTable[];

let opened: OpenTestDatabase;
beforeAll(async () => {
  opened = await openTestDatabase();
});
afterAll(() => opened.close());

const isKept = ({ erasure }: ColumnEntry): boolean => typeof erasure === "object";
/** Whether rows of the table are still there after everything was erased. */
const keepsRows = ({ columns }: AnyTableEntry): boolean =>
  Object.values(columns).some((column) => column.erasure !== "delete");

describe.each(tables)("the table %s", (table) => {
  const entry = map[table] as AnyTableEntry;
  const columns = Object.entries(entry.columns);

  test("says of each personal column whose it is", () => {
    const unsaid = columns.filter(
      ([, column]) => column.class === "personal" && column.whose === undefined && entry.subject === null,
    );
    expect(unsaid).toEqual([]);
  });

  test("withholds secrets, and the tenant's id, which is the same in every row", () => {
    for (const [name, column] of columns) {
      const isTenant = "column" in entry.tenant && entry.tenant.column === name;
      if (column.class === "secret" || isTenant) expect(column.exported).not.toBe(true);
    }
  });

  test("exports its whole key, by which an import tells rows apart", () => {
    if (entry.exported !== true) return;
    for (const name of entry.key) expect(entry.columns[name]?.exported).toBe(true);
    expect(exportedColumns(table).slice(0, entry.key.length)).toEqual(entry.key);
    expect(new Set(exportedColumns(table)).size).toBe(exportedColumns(table).length);
  });

  test("loses rows as a whole, or keeps their key", () => {
    if (!keepsRows(entry)) return;
    expect(columns.filter(([, { erasure }]) => erasure === "delete")).toEqual([]);
    for (const name of entry.key) expect(entry.columns[name]?.erasure).not.toBe("null");
  });

  test("gives reasons that say something", () => {
    const reasons = [
      entry.exported,
      entry.tenant,
      ...columns.flatMap(([, { exported, erasure }]) => [exported, erasure]),
    ].flatMap((said) =>
      typeof said !== "object" || "column" in said ? [] : (Object.values(said) as readonly string[]),
    );
    for (const reason of reasons) expect(reason.length).toBeGreaterThan(15);
    expect(retentionClasses).toHaveProperty(dataMap[table].retention);
  });
});

test("only what may be null is erased by making it null", async () => {
  const { rows } = await opened.owner.query(
    "select table_name || '.' || column_name as name from information_schema.columns where table_schema = 'public' and is_nullable = 'YES'",
  );
  const nullable = new Set(rows.map(({ name }) => name));
  const nulled = Object.entries(map).flatMap(([table, { columns }]) =>
    Object.entries(columns).flatMap(([name, { erasure }]) =>
      erasure === "null" ? [`${table}.${name}`] : [],
    ),
  );
  expect(nulled.filter((name) => !nullable.has(name))).toEqual([]);
});

test("no row that is kept has a foreign key to one that is deleted", async () => {
  const { rows } = await opened.owner.query<{ from: string; to: string }>(
    `select k.conrelid::regclass::text as from, k.confrelid::regclass::text as to from pg_constraint k
     join pg_class c on c.oid = k.conrelid
     where k.contype = 'f' and c.relnamespace = 'public'::regnamespace and not c.relispartition`,
  );
  expect(rows).toContainEqual({ from: "messages", to: "completions" });
  const held = rows.filter(({ from, to }) => {
    const [keeper, kept] = [map[from], map[to]];
    return keeper !== undefined && kept !== undefined && keepsRows(keeper) && !keepsRows(kept);
  });
  expect(held).toEqual([]);
});

test("an export has the tenant first, every table of tenants but those that are withheld, and the audit log apart", () => {
  expect(exportedTables[0]).toBe("tenants");
  expect(exportedTables).not.toContain("audit_log");
  expect(map.audit_log?.exported).toBe(true);
  for (const table of exportedTables) expect(map[table]?.tenant).toHaveProperty("column");
});

test("what stays when a tenant is erased is its books and what was done", () => {
  const kept = tables.filter((table) => "column" in dataMap[table].tenant && keepsRows(dataMap[table]));
  expect(kept).toEqual(["usage", "audit_log"]);
  expect(Object.values(map.usage?.columns ?? {}).every(isKept)).toBe(true);
});

// `npm run check` compiles this: a column that is missing or that is none of the table's is no map.
test("the types refuse a map that lacks a column or has one too many", () => {
  const { phone, ...columns } = { ...dataMap.users.columns, phone: dataMap.users.columns.name };
  const { email, ...rest } = columns;
  // @ts-expect-error: email is missing
  const lacking: TableEntry<"users"> = { ...dataMap.users, columns: rest };
  const tooMany: TableEntry<"users"> = {
    ...dataMap.users,
    // @ts-expect-error: users have no phone
    columns: { ...rest, email, phone: phone },
  };
  // @ts-expect-error: no table may be missing
  const short: { readonly [Table in MappedTable]: TableEntry<Table> } = { users: dataMap.users };
  // @ts-expect-error: a key is of columns of the table
  const key: TableEntry<"users">["key"] = ["phone"];
  expect([lacking, tooMany, short, key]).toHaveLength(4);
});
