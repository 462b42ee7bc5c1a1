import fc from "fast-check";
import { expect, test } from "vitest";
import { safeExtension } from "./safe-extension.ts";

test.each([
  ["report.pdf", ".pdf"],
  ["REPORT.PDF", ".pdf"],
  ["a.tar.gz", ".gz"],
  ["data.7z", ".7z"],
  ["none", ""],
  ["", ""],
  [".", ""],
  ["..", ""],
  [".bashrc", ""],
  ["dir/.bashrc", ""],
  ["a.b/c", ""],
  ["a.pdf ", ""],
  ["a.pdf\n", ""],
  ["a.p\0f", ""],
  ["a.%2e", ""],
  ["a.élan", ""],
  ["a.\u212aiB", ""],
  ["a.jsonlines12", ""],
  ["a.jsonlines", ".jsonlines"],
  ["株.txt", ".txt"],
])("of %j it is %j", (filename, extension) => {
  expect(safeExtension(filename)).toBe(extension);
});

test("is plain for any name", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ maxLength: 12 }), (one, other) => {
      expect(safeExtension(`${one}.${other}`)).toMatch(/^(\.[a-z0-9]{1,10})?$/);
    }),
  );
});
