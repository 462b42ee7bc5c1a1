import { InvalidArgumentError } from "commander";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  parseBudget,
  parseExpiry,
  parseName,
  parsePageSize,
  parsePerMinute,
  toStored,
} from "./option-values.ts";

describe("a name", () => {
  test("of 1 to 200 characters is taken as it is, an emoji counting once", () => {
    expect(parseName("Müller & Söhne")).toBe("Müller & Söhne");
    expect(parseName("😀".repeat(200))).toHaveLength(400);
  });
  test.each(["", "   ", "x".repeat(201), "a\0b"])("%j is refused", (text) => {
    expect(() => parseName(text)).toThrow(InvalidArgumentError);
  });
});

describe("a limit", () => {
  test("is any whole number in its range, and none is no limit", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_147_483_647 }), (value) => {
        expect(parsePerMinute(String(value))).toBe(value);
        expect(parseBudget(String(value))).toBe(value);
        expect(toStored(value)).toBe(value);
      }),
    );
    expect(toStored(parsePerMinute("none"))).toBeNull();
    expect(toStored(parseBudget("none"))).toBeNull();
    expect(parseBudget("0")).toBe(0);
    expect(parsePageSize("10000")).toBe(10_000);
  });
  test.each(["", "0", "-1", "1.5", "1e3", "0x10", " 1", "2147483648", "99999999999999999999"])(
    "%j per minute is refused",
    (text) => {
      expect(() => parsePerMinute(text)).toThrow("Accepts a whole number from 1 to 2147483647, or none.");
    },
  );
  test("past what a number holds exactly is refused", () => {
    expect(parseBudget("9007199254740991")).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => parseBudget("9007199254740992")).toThrow(InvalidArgumentError);
  });
});

describe("an expiry", () => {
  const now = () => Date.parse("2026-11-24T12:00:00Z");
  test.each([
    ["90d", "2027-02-22T12:00:00.000Z"],
    ["12h", "2026-11-25T00:00:00.000Z"],
    ["30m", "2026-11-24T12:30:00.000Z"],
    ["2027-01-31", "2027-01-31T00:00:00.000Z"],
    ["2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00.000Z"],
  ])("%s is %s", (text, time) => {
    expect(parseExpiry(text, now).toISOString()).toBe(time);
  });
  test.each([
    "",
    "soon",
    "90",
    "90y",
    "2027",
    "2027-13-01",
    "31.01.2027",
    "2027-01-31T12:00",
    "0d",
    "2026-11-24T11:59:59Z",
  ])("%j is refused", (text) => {
    expect(() => parseExpiry(text, now)).toThrow(InvalidArgumentError);
  });
});
