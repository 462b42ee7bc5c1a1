// Why an export cannot be imported, as an error.
import { EctusError } from "@ectus/core";
import pg from "pg";

/** @param reason a sentence, or some; it says what to do if there is something */
export function importRefused(reason: string, cause?: unknown): EctusError {
  return new EctusError("import_refused", { reason }, cause === undefined ? undefined : { cause });
}

// SQLSTATE classes: 22 data exception, 23 integrity constraint violation.
const refusedStates = /^2[23]/;
// But 22P04, bad COPY file format: that names columns.
const hasValue = /^22(?!P04)/;
const mostCharacters = 300;

/** What the database has against rows of a table as a refusal; any other error as it is. */
export function refusedByDatabase(thrown: unknown, table: string): unknown {
  if (!(thrown instanceof pg.DatabaseError) || !refusedStates.test(thrown.code ?? "")) return thrown;
  // The message names what does not fit, a column, constraint or type. Its detail would show the whole row, and what it
  // quotes of data that are no value of a type is the value.
  const message = hasValue.test(thrown.code ?? "")
    ? thrown.message.replace(/"[\s\S]*"/, '"…"')
    : thrown.message;
  return importRefused(
    `the database does not take its rows of ${table}: ${message.slice(0, mostCharacters)}.`,
    thrown,
  );
}
