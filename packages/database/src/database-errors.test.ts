import { EctusError } from "@ectus/core";
import pg from "pg";
import { expect, test } from "vitest";
import {
  isConnectionError,
  isForeignKeyViolation,
  isLockTimeout,
  isPassingError,
  isUniqueViolation,
  rowsOf,
  toDatabaseError,
} from "./database-errors.ts";

function fromServer(code: string): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError("text", 4, "error"), { code });
}
const fromSystem = (code: string): Error => Object.assign(new Error(code), { code });

test.each(["57P01", "57P02", "57P03", "57P05", "08006", "25P03", "25006", "53300"])(
  "%s from the server means that the connection is lost",
  (code) => {
    expect(isConnectionError(fromServer(code))).toBe(true);
    expect(toDatabaseError(fromServer(code))).toMatchObject({ code: "database_unavailable" });
  },
);

test.each(["40P01", "40001", "53100", "53200", "55P03", "57014"])(
  "%s from the server passes, though the connection is good",
  (code) => {
    expect(isConnectionError(fromServer(code))).toBe(false);
    expect(isPassingError(fromServer(code))).toBe(true);
  },
);

test.each(["23505", "22P02", "42501", "57P04", "23514"])("%s from the server stays what it is", (code) => {
  const error = fromServer(code);
  expect(isPassingError(error)).toBe(false);
  expect(toDatabaseError(error)).toBe(error);
});

test.each([
  fromSystem("ECONNREFUSED"),
  fromSystem("ECONNRESET"),
  fromSystem("ENETUNREACH"),
  new Error("Connection terminated unexpectedly"),
  new Error("timeout exceeded when trying to connect"),
  new Error("Query read timeout"),
  new EctusError("database_unavailable"),
])("%s means that the database cannot be reached", (error) => {
  expect(isConnectionError(error)).toBe(true);
  expect(isPassingError(error)).toBe(true);
});

test("errors of other kinds are not taken for a lost connection", () => {
  for (const thrown of [new Error("something"), new EctusError("not_found"), "text", undefined])
    expect(isConnectionError(thrown)).toBe(false);
});

test("an error that is database_unavailable already is passed on as it is", () => {
  const error = new EctusError("database_unavailable");
  expect(toDatabaseError(error)).toBe(error);
});

test("violations and lock timeouts are told apart by their SQLSTATE", () => {
  expect([isUniqueViolation(fromServer("23505")), isUniqueViolation(fromServer("23503"))]).toEqual([
    true,
    false,
  ]);
  expect([isForeignKeyViolation(fromServer("23503")), isForeignKeyViolation(new Error())]).toEqual([
    true,
    false,
  ]);
  expect([isLockTimeout(fromServer("55P03")), isLockTimeout(fromServer("57014"))]).toEqual([true, false]);
});

test("the rows of several statements are one list", () => {
  const result = (rows: object[]) => ({ rows }) as pg.QueryResult;
  expect(rowsOf(result([{ a: 1 }]))).toEqual({ rows: [{ a: 1 }] });
  expect(rowsOf([result([{ a: 1 }]), result([]), result([{ a: 2 }])])).toEqual({
    rows: [{ a: 1 }, { a: 2 }],
  });
});
