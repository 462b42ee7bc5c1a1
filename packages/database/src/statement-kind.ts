// What a statement does and to which table, for the labels of metrics and for log lines. Both come from the code that
// makes the statement or from Kysely's node of it, never from its text or from a value.
import { CompiledQuery, type OperationNode, type RootOperationNode } from "kysely";
import type { DB } from "./schema.ts";

/** A table or view of the schema, `jobs` for those of the job queue, or none. */
export type TableName = keyof DB | "jobs" | "none";

export interface StatementKind {
  /** In one word or two; a word of the code, as `select` or `lease_tokens`. */
  readonly operation: string;
  readonly table: TableName;
}

export const beginKind: StatementKind = { operation: "begin", table: "none" };
export const commitKind: StatementKind = { operation: "commit", table: "none" };
export const rollbackKind: StatementKind = { operation: "rollback", table: "none" };
export const setKind: StatementKind = { operation: "set", table: "none" };

interface QueryOfKind extends CompiledQuery {
  readonly statementKind: StatementKind;
}

/** Plain SQL for Kysely, of which only its writer can say what it does. */
export function queryOfKind(kind: StatementKind, text: string, values: readonly unknown[]): CompiledQuery {
  const query: QueryOfKind = { ...CompiledQuery.raw(text, values as unknown[]), statementKind: kind };
  return query;
}

export function kindOf(query: CompiledQuery): StatementKind {
  return (query as Partial<QueryOfKind>).statementKind ?? kindOfNode(query.query);
}

function kindOfNode(node: RootOperationNode): StatementKind {
  switch (node.kind) {
    case "SelectQueryNode":
      return { operation: "select", table: tableOf(node.from?.froms[0]) };
    case "InsertQueryNode":
      return { operation: "insert", table: tableOf(node.into) };
    case "UpdateQueryNode":
      return { operation: "update", table: tableOf(node.table) };
    case "DeleteQueryNode":
      return { operation: "delete", table: tableOf(node.from.froms[0]) };
    case "MergeQueryNode":
      return { operation: "merge", table: tableOf(node.into) };
    case "RawNode":
      return { operation: "raw", table: tableOf(node) };
    default:
      return { operation: "schema", table: "none" };
  }
}

// The ways in which Kysely writes the place of a table.
type TablePlace = OperationNode & {
  readonly table?: { readonly identifier: { readonly name: string } };
  readonly node?: OperationNode;
  readonly items?: readonly OperationNode[];
  readonly from?: { readonly froms: readonly OperationNode[] };
  readonly parameters?: readonly OperationNode[];
};

function tableOf(node: OperationNode | undefined): TableName {
  const place = node as TablePlace | undefined;
  switch (place?.kind) {
    case "TableNode": {
      const name = place.table?.identifier.name ?? "";
      // A name of the query's own, as that of a common table expression, is no table.
      return Object.hasOwn(tables, name) ? (name as TableName) : "none";
    }
    case "AliasNode":
      return tableOf(place.node);
    case "ListNode":
      return tableOf(place.items?.[0]);
    case "SelectQueryNode":
      return tableOf(place.from?.froms[0]);
    case "RawNode":
      return (place.parameters ?? []).map(tableOf).find((table) => table !== "none") ?? "none";
    default:
      return "none";
  }
}

const tables: Readonly<Record<keyof DB, true>> = {
  api_keys: true,
  audit_log: true,
  completions: true,
  export_parts: true,
  exports: true,
  files: true,
  messages: true,
  rate_windows: true,
  schema_migrations: true,
  signing_keys: true,
  tenants: true,
  token_budgets: true,
  token_leases: true,
  token_spending: true,
  usage: true,
  users: true,
};
