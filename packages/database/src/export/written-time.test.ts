import { expect, test } from "vitest";
import { writtenTime } from "./written-time.ts";

test("a time is written as RFC 3339 has it", () => {
  expect(writtenTime(new Date("2026-11-24T22:22:35.123Z"), "file 1")).toBe("2026-11-24T22:22:35.123Z");
  expect(writtenTime(new Date("0001-01-01T00:00:00Z"), "file 1")).toBe("0001-01-01T00:00:00.000Z");
});

test.each([
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["+012026-01-01T00:00:00.000Z", new Date("+012026-01-01T00:00:00Z")],
  ["-000043-03-15T00:00:00.000Z", new Date("-000043-03-15T00:00:00Z")],
])("%s ends the export, which names what has it", (text, time) => {
  expect(() => writtenTime(time, "file 1")).toThrow(`the time of file 1 is ${text}, which cannot be written`);
});
