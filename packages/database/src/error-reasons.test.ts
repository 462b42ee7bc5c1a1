import pg from "pg";
import { expect, test } from "vitest";
import { connectionErrorReason, lostConnectionReason, statementFailure } from "./error-reasons.ts";

const fromServer = (code: string, message = "text"): pg.DatabaseError =>
  Object.assign(new pg.DatabaseError(message, 4, "error"), { code });
const fromSystem = (code: string): Error => Object.assign(new Error(code), { code });

test.each([
  ["23505", "unique_violation"],
  ["23503", "foreign_key_violation"],
  ["23514", "check_violation"],
  ["23502", "not_null_violation"],
  ["23P01", "exclusion_violation"],
  ["23001", "other"],
  ["40001", "serialization_failure"],
  ["40P01", "deadlock"],
  ["55P03", "lock_timeout"],
  ["42501", "insufficient_privilege"],
  ["42601", "invalid_statement"],
  ["42P01", "invalid_statement"],
  ["0A000", "invalid_statement"],
  ["22P02", "invalid_data"],
  ["25P02", "invalid_transaction_state"],
  ["25P04", "timeout"],
  ["53200", "insufficient_resources"],
  ["54001", "insufficient_resources"],
  ["P0001", "raised"],
  ["57P01", "connection"],
  ["08006", "connection"],
  ["XX000", "other"],
])("SQLSTATE %s is %s", (code, reason) => {
  expect(statementFailure(fromServer(code), false).reason).toBe(reason);
});

test("of statements that the server canceled, one that took as long as it may has timed out, in any language", () => {
  const canceled = fromServer("57014", "storniere Anfrage wegen Zeitüberschreitung der Anfrage");
  expect(statementFailure(canceled, true).reason).toBe("timeout");
  expect(statementFailure(canceled, false).reason).toBe("canceled");
  const english = fromServer("57014", "canceling statement due to statement timeout");
  expect(statementFailure(english, false).reason).toBe("timeout");
});

test("what the server did not say is a broken connection or another fault", () => {
  expect(statementFailure(new Error("Query read timeout"), false).reason).toBe("connection");
  expect(statementFailure(fromSystem("ECONNRESET"), false).reason).toBe("connection");
  expect(statementFailure(new RangeError("out of the safe range"), false).reason).toBe("other");
  expect(statementFailure("text", false).reason).toBe("other");
});

test.each([
  [fromSystem("ECONNREFUSED"), "refused"],
  [fromSystem("ENOENT"), "refused"],
  [fromSystem("ENOTFOUND"), "unreachable"],
  [fromSystem("EHOSTUNREACH"), "unreachable"],
  [fromSystem("ETIMEDOUT"), "timeout"],
  [new Error("timeout expired"), "timeout"],
  [new Error("Connection terminated due to connection timeout"), "timeout"],
  [fromServer("28P01"), "authentication"],
  [fromServer("28000"), "authentication"],
  [new Error("SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string"), "authentication"],
  [fromServer("53300"), "too_many_connections"],
  [fromServer("57P03"), "starting_or_stopping"],
  [new Error("Connection terminated unexpectedly"), "lost"],
  [fromSystem("ECONNRESET"), "lost"],
  [fromServer("3D000"), "other"],
  [fromSystem("DEPTH_ZERO_SELF_SIGNED_CERT"), "other"],
  [new Error("something"), "other"],
  ["text", "other"],
])("a connection that cannot be made: %s is %s", (error, reason) => {
  expect(connectionErrorReason(error)).toBe(reason);
});

test("a connection that gives no answer is told from one that broke", () => {
  expect(lostConnectionReason(new Error("Query read timeout"))).toBe("timeout");
  expect(lostConnectionReason(new Error("Connection terminated unexpectedly"))).toBe("lost");
});
