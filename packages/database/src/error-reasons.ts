// Why a statement or a connection failed, in the words of the metrics.
import type { LabelsOf } from "@ectus/monitoring";
import pg from "pg";
import { isConnectionError } from "./database-errors.ts";

export type StatementErrorReason = LabelsOf<"db_query_errors_total">["reason"];
export type ConnectionErrorReason = LabelsOf<"db_connection_errors_total">["reason"];

// SQLSTATE codes and, with two characters, classes (PostgreSQL manual, appendix A).
const statementReasons: Readonly<Record<string, StatementErrorReason>> = {
  "0A": "invalid_statement",
  "22": "invalid_data",
  "23502": "not_null_violation",
  "23503": "foreign_key_violation",
  "23505": "unique_violation",
  "23514": "check_violation",
  "23P01": "exclusion_violation",
  "24": "invalid_statement",
  "25": "invalid_transaction_state",
  "25P04": "timeout",
  "26": "invalid_statement",
  "34": "invalid_statement",
  "40001": "serialization_failure",
  "40P01": "deadlock",
  "42": "invalid_statement",
  "42501": "insufficient_privilege",
  "44": "check_violation",
  "53": "insufficient_resources",
  "54": "insufficient_resources",
  "55P03": "lock_timeout",
  P0: "raised",
};
const queryCanceled = "57014";

/** How a statement failed. */
export interface StatementFailure {
  readonly reason: StatementErrorReason;
  /** The server's SQLSTATE, if it answered with an error. */
  readonly state?: string | undefined;
}

/** @param timedOut whether it took as long as the server lets a statement take */
export function statementFailure(error: unknown, timedOut: boolean): StatementFailure {
  const state = error instanceof pg.DatabaseError ? error.code : undefined;
  return { reason: statementErrorReason(error, timedOut), state };
}

function statementErrorReason(error: unknown, timedOut: boolean): StatementErrorReason {
  if (isConnectionError(error)) return "connection";
  if (!(error instanceof pg.DatabaseError) || error.code === undefined) return "other";
  // One code for two reasons; the message tells them apart where the server speaks English.
  if (error.code === queryCanceled)
    return timedOut || error.message.includes("statement timeout") ? "timeout" : "canceled";
  return statementReasons[error.code] ?? statementReasons[error.code.slice(0, 2)] ?? "other";
}

const connectionReasons: Readonly<Record<string, ConnectionErrorReason>> = {
  "28": "authentication",
  "53300": "too_many_connections",
  "57P01": "starting_or_stopping",
  "57P02": "starting_or_stopping",
  "57P03": "starting_or_stopping",
  ECONNREFUSED: "refused",
  // The socket file of a server that does not run.
  ENOENT: "refused",
  ENOTFOUND: "unreachable",
  EAI_AGAIN: "unreachable",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  ETIMEDOUT: "timeout",
  ECONNRESET: "lost",
  ECONNABORTED: "lost",
  EPIPE: "lost",
};
const timeoutMessage = /timeout/;
// pg's own refusal of the exchange, as when the server wants a password and the URL has none.
const authenticationMessage = /^SASL|password/;

/** Why a connection could not be made. */
export function connectionErrorReason(error: unknown): ConnectionErrorReason {
  if (!(error instanceof Error)) return "other";
  const { code } = error as { readonly code?: unknown };
  if (typeof code === "string")
    return connectionReasons[code] ?? connectionReasons[code.slice(0, 2)] ?? "other";
  if (timeoutMessage.test(error.message)) return "timeout";
  if (authenticationMessage.test(error.message)) return "authentication";
  return isConnectionError(error) ? "lost" : "other";
}

/** Why a connection that was there is gone. */
export function lostConnectionReason(error: unknown): ConnectionErrorReason {
  return error instanceof Error && error.message === "Query read timeout" ? "timeout" : "lost";
}
