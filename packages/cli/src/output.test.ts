import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { facts, printable, table } from "./output.ts";

test("columns are as wide as their widest cell, and lines end with no spaces", () => {
  expect(
    table(
      ["A", "LONG"],
      [
        ["wide", "x"],
        ["", ""],
      ],
    ),
  ).toBe("A     LONG\nwide  x\n");
});

test("facts stand under each other", () => {
  expect(
    facts([
      ["id", "1"],
      ["name", "x"],
    ]),
  ).toBe("id    1\nname  x");
});

test("no text steers a terminal or breaks a line", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const shown = printable(text);
      expect(stripVTControlCharacters(shown)).toBe(shown);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
      expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e\u2028]/);
    }),
  );
  expect(printable("Zoë 😀")).toBe("Zoë 😀");
});
