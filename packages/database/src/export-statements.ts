// The SQL by which an export reads a table: as COPY, which takes no parameters, and again as a count and a digest. All
// values come from settings of the transaction; names come from the data map alone.
import type { RowFormat } from "@ectus/bag";
import { dataMap, exportedColumns } from "./data-map.ts";
import type { MappedTable, TableEntry } from "./data-map-entry.ts";

/** Settings of the transaction that the statements read. */
export type ExportSettings = Readonly<Record<`ectus.export_${string}`, string>>;

/** Which rows of a table. */
export interface RowSelection {
  readonly table: MappedTable;
  /** PostgreSQL's names of the types of its columns. */
  readonly types: Readonly<Record<string, string>>;
  /** In this order; all that an export has by default. A bag of an older version has fewer. */
  readonly columns?: readonly string[];
  /** Only those in the range of dates of the settings `from` and `to`. */
  readonly from?: boolean;
  readonly to?: boolean;
  /** Only those about the person of the setting `subject`. */
  readonly subject?: boolean;
  /** Only those whose key is greater than that of the settings `after_1`, `after_2`, … */
  readonly after?: boolean;
  /** Only those whose key is not greater than that of the settings `until_1`, `until_2`, … */
  readonly until?: boolean;
}

/** The settings that hold a key; `end` is `after` or `until`. */
export function keySettings(end: "after" | "until", key: readonly string[]): ExportSettings {
  return Object.fromEntries(key.map((value, index) => [`ectus.export_${end}_${index + 1}`, value]));
}

/**
 * `copy … to stdout` of rows in the order of their keys. NDJSON comes as rows of one field in the binary format, which is
 * the cheapest for the server and escapes nothing; CSV with every value in quotes but null, so that it is told from an
 * empty text.
 */
export function copyStatement(rows: RowSelection, format: RowFormat): string {
  const { table, types } = rows;
  const source = `from ${quoted(table)} ${where(rows)}${orderBy(table)}`;
  if (format === "ndjson")
    return `copy (select row_to_json(line) from (select ${names(rows)} ${source}) line) to stdout (format binary)`;
  const values = columnsOf(rows).map((name) =>
    // As JSON has it; COPY would write t and f.
    types[name] === "bool" ? `${quoted(name)}::text` : quoted(name),
  );
  return `copy (select ${values.join(", ")} ${source}) to stdout (format csv, force_quote *)`;
}

/**
 * Counts rows and sums their digests (see `digestDescription` of @ectus/bag), without COPY: gives `rows`, a bigint, and
 * `digest`, a numeric as text.
 */
export function digestStatement(rows: RowSelection, format: RowFormat): string {
  const { table } = rows;
  const source = `from ${quoted(table)} ${where(rows)}`;
  const lines =
    format === "ndjson"
      ? `select row_to_json(row_of)::text as line from (select ${names(rows)} ${source}) row_of`
      : `select ${csvLine(rows)} as line ${source}`;
  return `select count(*) as rows, coalesce(sum(hashtextextended(line collate "C", 0)), 0)::text as digest from (${lines}) lines`;
}

export function countStatement(rows: RowSelection): string {
  return `select count(*) as rows from ${quoted(rows.table)} ${where(rows)}`;
}

// Of these types no text has a quote in it.
const unquotable = new Set([
  "uuid",
  "int2",
  "int4",
  "int8",
  "numeric",
  "bool",
  "date",
  "timestamptz",
  "bytea",
]);

function csvLine(rows: RowSelection): string {
  const { types } = rows;
  return columnsOf(rows)
    .map((name) => {
      const text = `${quoted(name)}::text`;
      const value = unquotable.has(types[name] ?? "") ? text : `replace(${text}, '"', '""')`;
      return `coalesce('"' || ${value} || '"', '')`;
    })
    .join(" || ',' || ");
}

const columnsOf = ({ table, columns }: RowSelection): readonly string[] => columns ?? exportedColumns(table);

const names = (rows: RowSelection): string => columnsOf(rows).map(quoted).join(", ");

function where(rows: RowSelection): string {
  const { table } = rows;
  const entry = dataMap[table] as TableEntry;
  if (!("column" in entry.tenant)) throw new TypeError(`${table} has no rows of tenants`);
  const conditions = [`${quoted(entry.tenant.column)} = ${setting("tenant", "uuid")}`];
  if (rows.from)
    conditions.push(...through(table, "time", (column) => `${column} >= ${setting("from", "timestamptz")}`));
  if (rows.to)
    conditions.push(...through(table, "time", (column) => `${column} < ${setting("to", "timestamptz")}`));
  if (rows.subject)
    conditions.push(
      ...through(
        table,
        "subject",
        (column) => `lower(${column}::text) = lower(${setting("subject", "text")})`,
      ),
    );
  if (rows.after) conditions.push(keyCondition(rows, ">", "after"));
  if (rows.until) conditions.push(keyCondition(rows, "<=", "until"));
  return `where ${conditions.join(" and ")}`;
}

function through(
  table: MappedTable,
  what: "time" | "subject",
  condition: (column: string) => string,
): readonly string[] {
  const path = (dataMap[table] as TableEntry)[what];
  if (path === null) {
    if (what === "time") return [];
    throw new TypeError(`rows of ${table} name no person`);
  }
  if ("columns" in path)
    return [
      `(${path.columns.map((column) => condition(`${quoted(table)}.${quoted(column)}`)).join(" or ")})`,
    ];
  const other = dataMap[path.through] as TableEntry;
  const [own, theirs] = [(dataMap[table] as TableEntry).tenant, other.tenant];
  if (!("column" in own && "column" in theirs)) throw new TypeError(`${path.through} has no rows of tenants`);
  const joined = Object.entries({ [own.column]: theirs.column, ...path.on }).map(
    ([mine, theirs]) => `${quoted(path.through)}.${quoted(theirs)} = ${quoted(table)}.${quoted(mine)}`,
  );
  return [
    `exists (select from ${quoted(path.through)} where ${[...joined, ...through(path.through, what, condition)].join(" and ")})`,
  ];
}

function keyCondition({ table, types }: RowSelection, operator: string, end: "after" | "until"): string {
  const { key } = dataMap[table] as TableEntry;
  const values = key.map((name, index) => setting(`${end}_${index + 1}`, types[name] ?? "text"));
  return `(${key.map(quoted).join(", ")}) ${operator} (${values.join(", ")})`;
}

function orderBy(table: MappedTable): string {
  const { key } = dataMap[table] as TableEntry;
  return key.length === 0 ? "" : ` order by ${key.map(quoted).join(", ")}`;
}

const setting = (name: string, type: string): string => `current_setting('ectus.export_${name}')::${type}`;

const quoted = (name: string): string => `"${name}"`;
