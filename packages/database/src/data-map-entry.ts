// What the data map says of a table and of a column.
import type { DB } from "./schema.ts";

/** Tables; a view has nothing of its own. */
export type MappedTable = Exclude<keyof DB, "token_spending">;

/**
 * identifier: tells rows apart and names no person; personal: names a person or may, by itself; content: what customers
 * and models wrote, which may say anything; operational: how the platform does its work; secret: gives access to
 * something.
 */
export type DataClass = "identifier" | "personal" | "content" | "operational" | "secret";

/** What data are kept together and for as long: the policies of retention are about these. */
export type RetentionClass = "account" | "content" | "usage" | "audit" | "exports" | "working" | "platform";

/**
 * What the erasure of a person, or of a tenant, does to a value: its row goes, it is set to null, or it is replaced by one
 * that tells rows apart still and leads to nobody; or it stays as it is, for a reason. Where a row stays, its key does.
 */
export type Erasure = "delete" | "null" | "pseudonymize" | { readonly keep: string };

export interface ColumnEntry {
  readonly class: DataClass;
  /** True, or why no export has it. */
  readonly exported: true | { readonly withheld: string };
  readonly erasure: Erasure;
  /** Whose personal data it is, in words, where that is not the person whom the table's `subject` names. */
  readonly whose?: string;
  /** If not the table's. */
  readonly retention?: RetentionClass;
}

/** How a row belongs to a tenant. */
export type TenantScope =
  /** By the column that has the tenant's id. An export says that id once, and not in each row. */
  { readonly column: string } | { readonly none: string };

/** The table's own column, or that of the row of another table that it belongs to. */
export type Through<Table extends MappedTable = MappedTable> =
  | { readonly columns: readonly (keyof DB[Table] & string)[] }
  | {
      readonly through: MappedTable;
      /** Own columns, and the columns of the other table that they are equal to, besides the tenant's. */
      readonly on: Readonly<Record<string, string>>;
    };

export interface TableEntry<Table extends MappedTable = MappedTable> {
  /** What a row is, in a sentence. */
  readonly about: string;
  readonly tenant: TenantScope;
  /** The primary key without the tenant's column: by it an export orders rows and goes on after a fault. */
  readonly key: readonly (keyof DB[Table] & string)[];
  /** By which a range of dates is applied; null where there is none, and all rows are taken. */
  readonly time: Through<Table> | null;
  /** By which a person's rows are found; null where rows say nothing of a person whom they name. */
  readonly subject: Through<Table> | null;
  /** True, or why no export has it. */
  readonly exported: true | { readonly withheld: string };
  readonly retention: RetentionClass;
  readonly columns: { readonly [Column in keyof DB[Table]]: ColumnEntry };
}
