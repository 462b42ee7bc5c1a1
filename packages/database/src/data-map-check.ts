// Compares the data map with the live database, so that nothing is kept of which the map says nothing. Read by exports,
// `ectus doctor` and the tests of migrations; an export also gets the types of columns from here.
import { EctusError } from "@ectus/core";
import { dataMap } from "./data-map.ts";
import type { ColumnEntry, MappedTable, TenantScope } from "./data-map-entry.ts";
import type { Query } from "./database.ts";

/** `Database.run`, or the `query` of a reader of a snapshot. */
export type RunQuery = <Row extends object>(query: Query) => Promise<Row[]>;

export interface LiveTable {
  /** PostgreSQL's names of the types of its columns, in the order of the table. */
  readonly columns: Readonly<Record<string, string>>;
  /** Columns that are never null. */
  readonly required: readonly string[];
  /** The columns of its primary key, in its order; empty if it has none. */
  readonly key: readonly string[];
  /** Whether row security is enabled and forced. */
  readonly rowSecurity: boolean;
}

/** What there is in the schema public, by name; partitions belong to their table. */
export type LiveTables = Readonly<Record<string, LiveTable>>;

/** The tables of the map as they are. */
export type LiveSchema = Readonly<Record<MappedTable, LiveTable>>;

/**
 * The tables of a database that is as the data map says.
 *
 * @throws EctusError `data_map_mismatch`
 */
export async function readSchema(query: RunQuery): Promise<LiveSchema> {
  const live = await readLiveColumns(query);
  refuseUnmapped(live);
  return live as LiveSchema;
}

/** From PostgreSQL's catalog, in which every role sees all, whatever it may read. */
export async function readLiveColumns(query: RunQuery): Promise<LiveTables> {
  const rows = await query<LiveTable & { readonly table: string }>({
    name: "read_live_columns",
    // Materialized views and foreign tables hold data, too. A type that is not PostgreSQL's own has its schema before it.
    text: `
      select c.relname::text as table,
             c.relrowsecurity and c.relforcerowsecurity as "rowSecurity",
             array(select a.attname::text from pg_attribute a
                   where a.attrelid = c.oid and a.attnum > 0 and a.attnotnull and not a.attisdropped
                   order by a.attnum) as required,
             array(select a.attname::text
                   from pg_index i, unnest(i.indkey) with ordinality k (attnum, place), pg_attribute a
                   where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid and a.attnum = k.attnum
                   order by k.place) as key,
             (select coalesce(json_object_agg(a.attname, concat(
                       case when t.typnamespace <> 'pg_catalog'::regnamespace then t.typnamespace::regnamespace || '.' end,
                       t.typname) order by a.attnum), '{}')
              from pg_attribute a join pg_type t on t.oid = a.atttypid
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
      from pg_class c
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm', 'f') and not c.relispartition
      order by 1`,
    values: [],
    operation: "read_live_columns",
    table: "none",
  });
  return Object.fromEntries(rows.map(({ table, ...found }) => [table, found]));
}

/** @throws EctusError `data_map_mismatch` with everything in which the database is not as the data map says */
export function refuseUnmapped(live: LiveTables): void {
  const faults = dataMapFaults(live);
  if (faults.length > 0) throw new EctusError("data_map_mismatch", { faults: faults.join("\n") });
}

/** A table of any map, for which its columns are any names. */
export interface AnyTableEntry {
  readonly tenant: TenantScope;
  readonly key: readonly string[];
  readonly time: AnyPath | null;
  readonly subject: AnyPath | null;
  readonly exported: ColumnEntry["exported"];
  readonly columns: Readonly<Record<string, ColumnEntry>>;
}
export type AnyDataMap = Readonly<Record<string, AnyTableEntry>>;
type AnyPath =
  | { readonly columns: readonly string[] }
  | { readonly through: string; readonly on: Readonly<Record<string, string>> };

const mapFile = "packages/database/src/data-map.ts";

/**
 * Types that an export writes and an import reads with the same value; `_text` is an array of texts. Before another is
 * added, look at NDJSON and CSV of it, and at the digests of rows (export-statements.ts).
 */
const exportedTypes: ReadonlySet<string> = new Set([
  ...["uuid", "text", "_text", "bool", "int2", "int4", "int8", "numeric", "date", "timestamptz", "jsonb"],
  "bytea",
]);

/** In what the database is not as a data map says, a sentence or two for each: what, where, and what to do. */
export function dataMapFaults(live: LiveTables, map: AnyDataMap = dataMap): readonly string[] {
  const unmapped = Object.keys(live)
    .filter((table) => !Object.hasOwn(map, table))
    .map(
      (table) =>
        `The table ${table} is not in the data map, so nobody has said whose its rows are. Add it to ${mapFile}, or drop it or move it to another database if it was not made by a migration.`,
    );
  const mapped = Object.entries(map).flatMap(([table, entry]) => {
    const found = live[table];
    return found === undefined
      ? [
          `The table ${table} of the data map is not in the database. Restore it, or take it out of ${mapFile} if a migration dropped it.`,
        ]
      : [
          ...columnFaults(table, entry, found),
          ...tenantFaults(table, entry, found),
          ...keyFaults(table, entry, found),
          ...typeFaults(table, entry, found),
          ...pathFaults(table, "time", { live, map }),
          ...pathFaults(table, "subject", { live, map }),
        ];
  });
  return [...unmapped, ...mapped];
}

function columnFaults(table: string, entry: AnyTableEntry, found: LiveTable): string[] {
  const unmapped = Object.keys(found.columns).filter((column) => !Object.hasOwn(entry.columns, column));
  const vanished = Object.keys(entry.columns).filter((column) => !Object.hasOwn(found.columns, column));
  return [
    ...unmapped.map(
      (column) =>
        `The column ${column} of ${table} is not in the data map, so nobody has said what it holds. Add it to ${mapFile}, or drop it if it was not made by a migration.`,
    ),
    ...vanished.map(
      (column) =>
        `The column ${column} of ${table} is in the data map and not in the database. Restore it, or take it out of ${mapFile} if a migration dropped or renamed it.`,
    ),
  ];
}

function tenantFaults(table: string, { tenant, columns }: AnyTableEntry, found: LiveTable): string[] {
  if ("none" in tenant) return [];
  const faults: string[] = [];
  const { column } = tenant;
  const type = found.columns[column];
  // A column of the map that is gone was told already.
  if (type === undefined && !Object.hasOwn(columns, column))
    faults.push(
      `Rows of ${table} are told to be a tenant's by ${column}, which is no column of it. Correct 'tenant' in ${mapFile}.`,
    );
  if (type !== undefined && type !== "uuid")
    faults.push(
      `The column ${column} of ${table} says whose a row is and has the type ${type}. Give it the type uuid, which tenants have.`,
    );
  if (!found.rowSecurity)
    faults.push(
      `The table ${table} has rows of tenants and its row security is not enabled and forced. Run, as its owner: alter table ${table} enable row level security, force row level security.`,
    );
  return faults;
}

function keyFaults(table: string, { tenant, key }: AnyTableEntry, found: LiveTable): string[] {
  const wanted = ["column" in tenant ? [tenant.column] : [], key].flat();
  if (wanted.join() === found.key.join()) return [];
  return [
    `The primary key of ${table} is (${found.key.join(", ")}) and by the data map (${wanted.join(", ")}). Rows are ordered and told apart by it: make 'key' in ${mapFile} the same, without the tenant's column.`,
  ];
}

function typeFaults(table: string, { exported, columns }: AnyTableEntry, found: LiveTable): string[] {
  if (exported !== true) return [];
  return Object.entries(columns).flatMap(([column, entry]) => {
    const type = found.columns[column];
    if (type === undefined || entry.exported !== true || exportedTypes.has(type)) return [];
    return [
      `The column ${column} of ${table} has the type ${type}, of which nobody has looked whether an export and an import keep its values. Look, and add it to the types in packages/database/src/data-map-check.ts, or withhold the column in ${mapFile}.`,
    ];
  });
}

interface Both {
  readonly live: LiveTables;
  readonly map: AnyDataMap;
}

function pathFaults(table: string, what: "time" | "subject", both: Both): string[] {
  const path = both.map[table]?.[what] ?? null;
  if (path === null) return [];
  const correct = `Correct '${what}' of ${table} in ${mapFile}.`;
  const absent = (of: string, column: string): string[] =>
    Object.hasOwn(both.live[of]?.columns ?? {}, column)
      ? []
      : [`The data map finds the ${what} of ${table} by ${column} of ${of}, which is no column. ${correct}`];
  if ("columns" in path)
    return path.columns.flatMap((column) => {
      const type = both.live[table]?.columns[column];
      return what === "time" && type !== undefined && type !== "timestamptz"
        ? [
            `The column ${column} of ${table} has the type ${type}, and a range of dates needs timestamptz. ${correct}`,
          ]
        : absent(table, column);
    });
  if ((both.map[path.through]?.[what] ?? null) === null)
    return [`The data map finds the ${what} of ${table} through ${path.through}, which has none. ${correct}`];
  return Object.entries(path.on).flatMap(([own, theirs]) => [
    ...absent(table, own),
    ...absent(path.through, theirs),
  ]);
}
