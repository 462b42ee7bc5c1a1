// What an import has to know of the database that it writes to: its columns, and which table refers to which.
import type { ImportConnection } from "./import-connection.ts";

export interface ColumnFacts {
  readonly name: string;
  /** PostgreSQL's name of its type. */
  readonly type: string;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
}

export interface SchemaFacts {
  /** The number of the last migration. */
  readonly version: number;
  readonly tables: ReadonlyMap<string, readonly ColumnFacts[]>;
  /** Tables that a table's foreign keys refer to, itself left out. */
  readonly references: ReadonlyMap<string, readonly string[]>;
}

export async function readSchemaFacts(connection: ImportConnection): Promise<SchemaFacts> {
  const [last] = await connection.run<{ version: number }>(
    "select coalesce(max(version), 0)::integer as version from schema_migrations",
  );
  const columns = await connection.run<ColumnFacts & { table: string }>(`
    select c.relname as table, a.attname as name, t.typname as type, a.attnotnull as "notNull",
           a.atthasdef or a.attidentity <> '' as "hasDefault"
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    order by c.relname, a.attnum`);
  const references = await connection.run<{ table: string; target: string }>(`
    select distinct c.relname as table, t.relname as target
    from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_class t on t.oid = k.confrelid
    where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = 'public'::regnamespace and c.oid <> t.oid
    order by 1, 2`);
  return {
    version: last?.version ?? 0,
    tables: Map.groupBy(columns, ({ table }) => table),
    references: new Map(
      [...Map.groupBy(references, ({ table }) => table)].map(([table, rows]) => [
        table,
        rows.map(({ target }) => target),
      ]),
    ),
  };
}
