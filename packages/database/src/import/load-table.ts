// Writes the rows of a table of a bag: part by part through a staging table, since COPY does not work under row
// security and a bag's rows have no tenant's id. Then has the database count and digest what is there.
import type { Readable, Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import type { Compression } from "@ectus/bag";
import { digestStatement } from "../export-statements.ts";
import type { ImportConnection } from "./import-connection.ts";
import { importRefused, refusedByDatabase } from "./import-refused.ts";
import type { TablePlan } from "./plan-import.ts";

export interface LoadTableOptions {
  readonly tenantId: string;
  readonly compression: Compression;
  /** The bytes of a file of the bag. */
  readonly read: (path: string) => Promise<Readable>;
  /** What the bytes of a part pass through before they are decompressed. */
  readonly meter: Meter;
}

/** Passes bytes of the bag on and counts them. */
export type Meter = (source: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array>;

// Larger than the defaults, which would make as many messages to the server.
const chunkSize = 256 * 1024;

/** @throws EctusError `import_refused` when the rows are not those that export.json says, or the database refuses them */
export async function loadTable(
  connection: ImportConnection,
  table: TablePlan,
  options: LoadTableOptions,
): Promise<void> {
  const insert = insertStatement(table);
  await stageParts(connection, table, options, async () => {
    await connection.run(insert, [options.tenantId]);
  });
  await compareDigests(connection, table, options.tenantId);
}

export type StageOptions = Omit<LoadTableOptions, "tenantId">;

/** Within a transaction, has `use` work on the table import_staging with the rows of one part after the other. */
export async function stageParts(
  connection: ImportConnection,
  table: TablePlan,
  options: StageOptions,
  use: () => Promise<void>,
): Promise<void> {
  await connection.run(stagingStatement(table));
  for (const part of table.parts) {
    const steps = [options.meter, ...decompression(options.compression)];
    try {
      const rows = await connection.copyIn(copyInStatement(table), await options.read(part.path), steps);
      if (rows !== part.rows)
        throw importRefused(`${part.path} has ${rows} rows, and export.json says ${part.rows}.`);
      await use();
    } catch (error) {
      throw refusedByDatabase(error, table.name);
    }
    // Rows are on the disk twice for one part at a time: a table of this very transaction is truncated at once.
    await connection.run("truncate import_staging");
  }
  await connection.run("drop table import_staging");
}

function decompression(compression: Compression): Transform[] {
  switch (compression) {
    case "none":
      return [];
    case "gzip":
      return [createGunzip({ chunkSize })];
    case "zstd":
      return [createZstdDecompress({ chunkSize })];
  }
}

function stagingStatement(table: TablePlan): string {
  return table.format === "ndjson"
    ? "create temp table import_staging (line text) on commit drop"
    : `create temp table import_staging on commit drop as select ${names(table)} from ${quoted(table.name)} with no data`;
}

// A line of JSON is one value: the characters that stand for quotes and delimiters here are not in any.
function copyInStatement(table: TablePlan): string {
  return table.format === "ndjson"
    ? String.raw`copy import_staging (line) from stdin (format csv, quote e'\x01', delimiter e'\x02')`
    : `copy import_staging (${names(table)}) from stdin (format csv, header match)`;
}

function insertStatement(table: TablePlan): string {
  const { name, tenantColumn, columns, fillers } = table;
  const values = columns.map((column) => {
    const value = `row_of.${quoted(column.name)}`;
    // In a row as JSON, JSON's null and no value look the same.
    const isJsonNull = table.format === "ndjson" && column.type === "jsonb" && column.notNull;
    return isJsonNull ? `coalesce(${value}, 'null'::jsonb)` : value;
  });
  const targets = [tenantColumn, ...columns.map((column) => column.name), ...Object.keys(fillers)];
  const source =
    table.format === "ndjson"
      ? `import_staging, json_populate_record(null::${quoted(name)}, line::json) row_of`
      : "import_staging row_of";
  return `insert into ${quoted(name)} (${targets.map(quoted).join(", ")})
    select ${["$1::uuid", ...values, ...Object.values(fillers)].join(", ")} from ${source}`;
}

async function compareDigests(
  connection: ImportConnection,
  table: TablePlan,
  tenantId: string,
): Promise<void> {
  await connection.run("select set_config('ectus.export_tenant', $1, true)", [tenantId]);
  const selection = {
    table: table.name,
    types: Object.fromEntries(table.columns.map(({ name, type }) => [name, type])),
    columns: table.columns.map(({ name }) => name),
  };
  const [found] = await connection.run<{ rows: string; digest: string }>(
    digestStatement(selection, table.format),
  );
  const rows = Number(found?.rows);
  const digest = BigInt.asUintN(64, BigInt(found?.digest ?? 0))
    .toString(16)
    .padStart(16, "0");
  if (rows !== table.rows || digest !== table.digest)
    throw importRefused(
      `the table ${table.name} would have ${rows} rows with the digest ${digest}, and export.json says ${table.rows} rows with ${table.digest}.`,
    );
}

const names = (table: TablePlan): string => table.columns.map(({ name }) => quoted(name)).join(", ");

const quoted = (name: string): string => `"${name}"`;
