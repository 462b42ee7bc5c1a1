import { expect, test } from "vitest";
import { formatLogLevels, levelOf, parseLogLevels } from "./log-levels.ts";

test("levels are read and written alike", () => {
  for (const text of ["info", "warn,database=debug", "silent,ai-engine=trace,jobs=fatal"]) {
    const levels = parseLogLevels(text);
    expect(levels).toBeDefined();
    if (levels !== undefined) expect(formatLogLevels(levels)).toBe(text);
  }
  expect(parseLogLevels("database=debug")).toEqual({ default: "info", modules: { database: "debug" } });
});

test("what is no level is refused", () => {
  for (const text of [
    "",
    "loud",
    "info,,",
    "info,Database=debug",
    "info,database=",
    "=info",
    `info,${"a".repeat(1_000)}=info`,
  ])
    expect(parseLogLevels(text), text).toBeUndefined();
});

test("a module has its own level or the default, whatever its name", () => {
  const levels = parseLogLevels("warn,database=debug") ?? { default: "info", modules: {} };
  expect(levelOf(levels, "database")).toBe("debug");
  expect(levelOf(levels, "web-api")).toBe("warn");
  expect(levelOf(levels, "constructor")).toBe("warn");
});
