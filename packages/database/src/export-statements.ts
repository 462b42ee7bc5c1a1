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
  /** Columns that are never null, which saves time; none by default. */
  readonly required?: readonly string[];
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
 * Counts rows and sums their digests (see `digestDescription` of @ectus/bag), without COPY and without what it makes
 * JSON and CSV with: gives `rows`, a bigint, and `digest`, a numeric as text.
 */
export function digestStatement(rows: RowSelection, format: RowFormat): string {
  const line = format === "ndjson" ? jsonLine(rows) : csvLine(rows);
  const lines = `select ${line} as line from ${quoted(rows.table)} ${where(rows)}`;
  return `select count(*) as rows, coalesce(sum(hashtextextended(line collate "C", 0)), 0)::text as digest from (${lines}) lines`;
}

export function countStatement(rows: RowSelection): string {
  return `select count(*) as rows from ${quoted(rows.table)} ${where(rows)}`;
}

// Texts are put together by few operators, since each makes a new one: an export spends a quarter of its time here.
function jsonLine(rows: RowSelection): string {
  const pieces = columnsOf(rows).map((name, index) => {
    const opening = `${index === 0 ? "{" : ","}"${name}":`;
    const [before, value, after] = jsonValue(quoted(name), rows.types[name] ?? "");
    return rows.required?.includes(name)
      ? { before: opening + before, value, after }
      : {
          before: opening,
          value: `coalesce(${concatenated([{ before, value, after }])}, 'null')`,
          after: "",
        };
  });
  return concatenated([...pieces, { before: "}", value: "", after: "" }]);
}

/** What stands before a value in JSON, the value, and what stands after it. */
function jsonValue(column: string, type: string): readonly [string, string, string] {
  switch (type) {
    case "uuid":
    case "date":
      return ['"', `${column}::text`, '"'];
    case "bool":
    case "int2":
    case "int4":
    case "int8":
    case "jsonb":
      return ["", `${column}::text`, ""];
    default:
      return ["", `to_json(${column})::text`, ""];
  }
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
  return concatenated(
    columnsOf(rows).map((name, index) => {
      const comma = index === 0 ? "" : ",";
      const text = `${quoted(name)}::text`;
      const value = unquotable.has(rows.types[name] ?? "") ? text : `replace(${text}, '"', '""')`;
      return rows.required?.includes(name)
        ? { before: `${comma}"`, value, after: '"' }
        : { before: comma, value: `coalesce('"' || ${value} || '"', '')`, after: "" };
    }),
  );
}

/** SQL that puts texts and values after each other. */
function concatenated(
  pieces: readonly { readonly before: string; readonly value: string; readonly after: string }[],
): string {
  const terms: string[] = [];
  let text = "";
  for (const { before, value, after } of pieces) {
    text += before;
    if (value === "") continue;
    if (text !== "") terms.push(`'${text}'`);
    terms.push(value);
    text = after;
  }
  if (text !== "") terms.push(`'${text}'`);
  return terms.join(" || ");
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
