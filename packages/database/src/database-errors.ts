// Tells a database that cannot be reached from a query that is wrong.
import { EctusError } from "@ectus/core";
import pg from "pg";

const connectionErrnos = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EHOSTUNREACH",
  "EAI_AGAIN",
]);
// SQLSTATE classes and codes (PostgreSQL manual, appendix A): 08 connection exception, 57P operator intervention
// but 57P04 and 57014, 53300 too many connections.
const connectionStates = /^(08...|57P0[123]|53300)$/;
const connectionMessages =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect|Cannot use a pool after calling end|Client was closed|timeout expired)/;

/** Whether the database could not be reached or the connection broke, so that the same query may succeed later. */
export function isConnectionError(thrown: unknown): boolean {
  if (thrown instanceof EctusError) return thrown.code === "database_unavailable";
  if (!(thrown instanceof Error)) return false;
  const code = (thrown as { code?: unknown }).code;
  if (thrown instanceof pg.DatabaseError) return typeof code === "string" && connectionStates.test(code);
  return (typeof code === "string" && connectionErrnos.has(code)) || connectionMessages.test(thrown.message);
}

/** The error as the rest of the program should see it: `database_unavailable`, or the database's own. */
export function toDatabaseError(thrown: unknown): unknown {
  return isConnectionError(thrown) && !(thrown instanceof EctusError)
    ? new EctusError("database_unavailable", { retryAfterSeconds: 2 }, { cause: thrown })
    : thrown;
}

/** Whether `thrown` is a violation of a unique constraint (SQLSTATE 23505). */
export function isUniqueViolation(thrown: unknown): boolean {
  return thrown instanceof pg.DatabaseError && thrown.code === "23505";
}
