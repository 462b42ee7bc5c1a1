// What an import will write, or why it does not: decided from what export.json says and what the database is, before
// anything is written. Names of a bag reach SQL only if the data map and the database have them.
import type { ExportDocument, ExportedPart, ExportedTable, RowFormat } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import { dataMap, exportedColumns, exportedTables } from "../data-map.ts";
import type { MappedTable, TableEntry } from "../data-map-entry.ts";
import { platformTenantId } from "../database.ts";
import { importRefused } from "./import-refused.ts";
import type { ColumnFacts, SchemaFacts } from "./schema-facts.ts";
import { withheldFiller } from "./withheld-fillers.ts";

export interface TablePlan {
  readonly name: MappedTable;
  readonly format: RowFormat;
  /** The column that has the tenant's id. */
  readonly tenantColumn: string;
  /** In the order in which each row has them. */
  readonly columns: readonly ColumnFacts[];
  /** SQL for columns that the bag does not have. */
  readonly fillers: Readonly<Record<string, string>>;
  readonly parts: readonly ExportedPart[];
  readonly rows: number;
  readonly digest: string;
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The tables of a bag in an order in which their rows can be written. @throws EctusError `import_refused` */
export function planImport(
  document: ExportDocument,
  schema: SchemaFacts,
  tenantName: string | undefined,
): readonly TablePlan[] {
  refuseOtherTenants(document);
  if (document.schemaVersion > schema.version)
    throw importRefused(
      `it is of schema version ${document.schemaVersion}, and this database is of ${schema.version}. Import it into an instance of a newer version.`,
    );
  const tables = [
    ...document.tables.map((table) => planTable(table, document.rowFormat, exportedTables, schema)),
    ...(document.auditLog === null ? [] : [planTable(document.auditLog, "ndjson", ["audit_log"], schema)]),
  ];
  const byName = new Map(tables.map((table) => [table.name, table]));
  if (byName.size < tables.length) throw new EctusError("bag_invalid", { reason: "it has a table twice." });
  refuseWithoutTenant(byName.get("tenants"), tenantName);
  refuseMissingRows(byName, schema);
  refuseMissingContents(document, byName.get("files"));
  return inOrder(byName, schema);
}

function refuseOtherTenants({ tenant: { id } }: ExportDocument): void {
  if (!uuidPattern.test(id))
    throw new EctusError("bag_invalid", {
      reason: `the id of its tenant, ${JSON.stringify(id)}, is no UUID.`,
    });
  if (id === platformTenantId)
    throw importRefused("it is of the platform itself, which every instance has already.");
}

function refuseWithoutTenant(tenants: TablePlan | undefined, tenantName: string | undefined): void {
  if (tenants === undefined && tenantName === undefined)
    throw importRefused(
      `it is an export of a part of the data, without the table tenants: nothing is known of the tenant's limits. Give the tenant a name with --tenant-name.`,
    );
  if (tenants !== undefined && tenants.rows !== 1)
    throw new EctusError("bag_invalid", {
      reason: `its table tenants has ${tenants.rows} rows and not the one of its tenant.`,
    });
}

function planTable(
  table: ExportedTable,
  format: RowFormat,
  known: readonly MappedTable[],
  schema: SchemaFacts,
): TablePlan {
  const name = known.find((each) => each === table.name);
  const live = schema.tables.get(table.name);
  if (name === undefined || live === undefined)
    throw importRefused(`it has the table ${JSON.stringify(table.name)}, which this version does not have.`);
  const { tenant } = dataMap[name] as TableEntry;
  if (!("column" in tenant)) throw importRefused(`rows of ${name} are of no tenant.`);
  const names = table.columns.map((column) => column.name);
  const columns = names.map((column) => live.find((each) => each.name === column));
  const exported = exportedColumns(name);
  const unknown = names.filter((column, index) => columns[index] === undefined || !exported.includes(column));
  if (unknown.length > 0)
    throw importRefused(
      `its table ${name} has columns that this version does not have: ${unknown.map((column) => JSON.stringify(column)).join(", ")}.`,
    );
  if (new Set(names).size < names.length)
    throw new EctusError("bag_invalid", { reason: `its table ${name} has a column twice.` });
  const fillers = Object.fromEntries(
    live.flatMap((column) => {
      const filler = exported.includes(column.name) ? undefined : withheldFiller(name, column.name);
      return filler === undefined || names.includes(column.name) ? [] : [[column.name, filler]];
    }),
  );
  const given = [tenant.column, ...names, ...Object.keys(fillers)];
  const empty = live.filter((column) => column.notNull && !column.hasDefault && !given.includes(column.name));
  if (empty.length > 0)
    throw importRefused(
      `its table ${name} lacks columns that must have a value: ${empty.map((column) => column.name).join(", ")}.`,
    );
  return {
    name,
    format,
    tenantColumn: tenant.column,
    columns: columns as ColumnFacts[],
    fillers,
    parts: table.parts,
    rows: table.rows,
    digest: table.digest,
  };
}

/** An export of some tables may have rows that refer to rows which it lacks. */
function refuseMissingRows(tables: ReadonlyMap<string, TablePlan>, schema: SchemaFacts): void {
  for (const { name, rows } of tables.values()) {
    const missing = (schema.references.get(name) ?? []).filter(
      (target) => target !== "tenants" && !((tables.get(target)?.rows ?? 0) > 0),
    );
    if (rows > 0 && missing.length > 0)
      throw importRefused(
        `it is an export of a part of the data: it has rows of ${name}, but not those of ${missing.join(" and ")} that they belong to. Export both.`,
      );
  }
}

function refuseMissingContents({ files }: ExportDocument, table: TablePlan | undefined): void {
  const rows = table?.rows ?? 0;
  if (files === null && rows > 0)
    throw importRefused(
      `it lists ${rows} files without their contents, and a file without contents could not be read. Export with the files, or without the table files.`,
    );
  if (files === null) return;
  if (files.length !== rows)
    throw importRefused(
      `it has the contents of ${files.length} files, but ${rows} rows of the table files. Export both.`,
    );
  if (!files.every(({ id }) => uuidPattern.test(id)))
    throw new EctusError("bag_invalid", { reason: "the id of a file is no UUID." });
}

function inOrder(tables: ReadonlyMap<string, TablePlan>, { references }: SchemaFacts): TablePlan[] {
  const ordered = new Set<TablePlan>();
  const place = (table: TablePlan, above: readonly string[]): void => {
    if (above.includes(table.name)) throw importRefused(`rows of ${table.name} refer to each other.`);
    for (const target of references.get(table.name) ?? []) {
      const other = tables.get(target);
      if (other !== undefined) place(other, [...above, table.name]);
    }
    ordered.add(table);
  };
  for (const table of tables.values()) place(table, []);
  return [...ordered];
}
