// The table of error codes, made from core's registry.
import type { ErrorDetails, ErrorType } from "@ectus/core";
import { code, markdownTable } from "./markdown.ts";

/** Like core's `errorCodes`. */
export type ErrorRegistry = Readonly<
  Record<
    string,
    {
      readonly status: number;
      readonly type: ErrorType;
      readonly message: (details: ErrorDetails) => string;
    }
  >
>;

// Every fact of an error's details reads as its own name in braces, so that a message shows where facts go.
const factNames: ErrorDetails = new Proxy({}, { get: (_, fact) => `{${String(fact)}}` });

export function errorsTable(registry: ErrorRegistry): string {
  const rows = Object.entries(registry).map(([name, { status, type, message }]) => [
    code(name),
    String(status),
    code(type),
    message(factNames),
  ]);
  return markdownTable(["Code", "HTTP status", "Type", "Message"], rows);
}

/** The codes that a table made by `errorsTable` lists. */
export function listedCodes(table: string): ReadonlySet<string> {
  return new Set([...table.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1] ?? ""));
}
