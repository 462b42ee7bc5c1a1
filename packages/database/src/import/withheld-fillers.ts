// What an import puts into columns that no export has and that cannot be empty.
import type { MappedTable } from "../data-map-entry.ts";
import type { DB } from "../schema.ts";

type Fillers = {
  readonly [Table in MappedTable]?: { readonly [Column in keyof DB[Table]]?: string };
};

/** SQL that is evaluated for each row. */
const fillers: Fillers = {
  // Digest of random bytes that nobody has seen: no key fits, until its secret is made anew.
  api_keys: { digest: "sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))" },
};

/** SQL for a column's value; undefined if there is none that makes sense. */
export function withheldFiller(table: MappedTable, column: string): string | undefined {
  return (fillers[table] as Readonly<Record<string, string>> | undefined)?.[column];
}
