// Writes the Kysely types of a live database's tables and views: schema.ts is what this makes of the migrated schema, and its
// test fails when the two differ.
import type pg from "pg";

interface Column {
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly hasDefault: boolean;
  /** Values that a check constraint of the form `column in (…)` allows. */
  readonly values: readonly string[];
}

// What is selected, and what may be written where that differs.
const columnTypes: Readonly<Record<string, { readonly select: string; readonly write?: string }>> = {
  bool: { select: "boolean" },
  bytea: { select: "Buffer" },
  date: { select: "string" },
  int4: { select: "number" },
  int8: { select: "number" },
  jsonb: { select: "unknown", write: "string" },
  numeric: { select: "string" },
  text: { select: "string" },
  _text: { select: "string[]" },
  timestamptz: { select: "Date", write: "Date | string" },
  uuid: { select: "string" },
};

export async function renderSchema(client: pg.ClientBase): Promise<string> {
  const columns = await readColumns(client);
  const tables = Map.groupBy(columns, (column) => column.table);
  const interfaces = [...tables].map(
    ([table, members]) =>
      `export interface ${interfaceName(table)} {\n${members.map(member).join("\n")}\n}\n`,
  );
  const entries = [...tables.keys()].map((table) => `  ${table}: ${interfaceName(table)};`);
  return [
    "// Types of the database's tables and views, made from the migrated schema by render-schema.ts; do not edit.",
    'import type { ColumnType, Generated } from "kysely";\n',
    ...interfaces,
    `export interface DB {\n${entries.join("\n")}\n}\n`,
  ].join("\n");
}

function member({ name, type, nullable, hasDefault, values }: Column): string {
  const known = columnTypes[type];
  if (known === undefined)
    throw new Error(`column ${name} has type ${type}, which render-schema.ts does not know`);
  const orNull = nullable ? " | null" : "";
  const select = `${values.length > 0 ? values.map((value) => JSON.stringify(value)).join(" | ") : known.select}${orNull}`;
  if (known.write === undefined) return `  ${name}: ${hasDefault ? `Generated<${select}>` : select};`;
  const write = `${known.write}${orNull}`;
  const insert = hasDefault || nullable ? `${write} | undefined` : write;
  return `  ${name}: ColumnType<${select}, ${insert}, ${write}>;`;
}

function interfaceName(table: string): string {
  return table.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

async function readColumns(client: pg.ClientBase): Promise<Column[]> {
  const { rows } = await client.query<Column & { check: string | null }>(`
    select c.relname as table, a.attname as name, t.typname as type, not a.attnotnull as nullable,
           a.atthasdef as "hasDefault",
           (select pg_get_constraintdef(k.oid) from pg_constraint k
             where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum] and t.typname = 'text'
               and pg_get_constraintdef(k.oid) like '%= ANY (ARRAY[%') as check
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
    order by c.relname, a.attnum`);
  return rows.map(({ check, ...column }) => ({
    ...column,
    values: [...(check ?? "").matchAll(/'([^']*)'::text/g)].map((match) => match[1] as string),
  }));
}
