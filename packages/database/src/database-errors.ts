// Tells a database that cannot be reached from a query that is wrong.
import { EctusError } from "@ectus/core";
import pg from "pg";

const connectionErrnos = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAI_AGAIN",
  "ERR_STREAM_DESTROYED",
]);
// SQLSTATE classes and codes (PostgreSQL manual, appendix A): 08 connection exception, 57P operator intervention
// but 57P04 (database dropped), 25P03 idle in transaction for too long, 25006 a primary that has become a standby,
// 53300 too many connections.
const connectionStates = /^(08...|57P0[1235]|25P03|25006|53300)$/;
const connectionMessages =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect|Cannot use a pool after calling end|Client was closed|timeout expired|Query read timeout|Received unexpected \w+ message)/;
// The server itself refused for a reason that passes: 40 transaction rollback (deadlock, serialization), 53 out of
// memory, disk or locks, 55P03 lock not available, 57014 statement timeout.
const passingStates = /^(40...|53...|55P03|57014)$/;

/** Whether the database could not be reached or the connection broke, so that the same query may succeed later. */
export function isConnectionError(thrown: unknown): boolean {
  if (thrown instanceof EctusError) return thrown.code === "database_unavailable";
  if (!(thrown instanceof Error)) return false;
  const code = (thrown as { code?: unknown }).code;
  if (thrown instanceof pg.DatabaseError) return typeof code === "string" && connectionStates.test(code);
  return (typeof code === "string" && connectionErrnos.has(code)) || connectionMessages.test(thrown.message);
}

/** Whether the same query, sent again, may succeed: the connection broke, or the server was short of something. */
export function isPassingError(thrown: unknown): boolean {
  return (
    isConnectionError(thrown) ||
    (thrown instanceof pg.DatabaseError && thrown.code !== undefined && passingStates.test(thrown.code))
  );
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

/** Whether `thrown` says that a lock was not had within lock_timeout (SQLSTATE 55P03). */
export function isLockTimeout(thrown: unknown): boolean {
  return thrown instanceof pg.DatabaseError && thrown.code === "55P03";
}

/** Whether the server ended `thrown`'s transaction since it and others waited for each other (SQLSTATE 40P01). */
export function isDeadlock(thrown: unknown): boolean {
  return thrown instanceof pg.DatabaseError && thrown.code === "40P01";
}

/** Whether `thrown` is a violation of a foreign key (SQLSTATE 23503). */
export function isForeignKeyViolation(thrown: unknown): boolean {
  return thrown instanceof pg.DatabaseError && thrown.code === "23503";
}

/** All rows of what pg returns: for a text of several statements that is a list of results. */
export function rowsOf(result: pg.QueryResult | readonly pg.QueryResult[]): { rows: pg.QueryResultRow[] } {
  return {
    rows: Array.isArray(result) ? result.flatMap(({ rows }) => rows) : (result as pg.QueryResult).rows,
  };
}
