import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { pathFault } from "./bag-path.ts";
import { manifestLine, parseManifest } from "./manifest.ts";

const sha256 = "ab".repeat(32);
const line = (path: string): string => `${sha256}  ${path}\n`;

test("a line is a digest, two spaces and a path in which CR, LF and % are encoded and nothing else is", () => {
  expect(manifestLine({ sha256, path: "data/a b/ü&?.txt" })).toBe(line("data/a b/ü&?.txt"));
  expect(manifestLine({ sha256, path: "data/100%\r\n%0A" })).toBe(line("data/100%25%0D%0A%250A"));
});

test.each(["", "/etc/passwd", "~/x", "C:/x", "a/../b", "a//b", "./a", "a\\b", "a\0b", "\ud800", " a", "a\t"])(
  "the path %j is not written",
  (path) => {
    expect(() => manifestLine({ sha256, path })).toThrow(RangeError);
  },
);

test("a digest that is none is not written", () => {
  for (const bad of ["", "ab", sha256.toUpperCase(), `${sha256}\n`])
    expect(() => manifestLine({ sha256: bad, path: "data/x" })).toThrow("is no SHA-256");
});

test("any path that is safe comes back", () => {
  const part = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom("%", "%0a", "\r", "\n", "\u2028", "x"),
  );
  fc.assert(
    fc.property(fc.uniqueArray(fc.array(part).map((parts) => `data/x${parts.join("")}x`)), (all) => {
      const paths = all.filter((path) => pathFault(path) === undefined);
      const text = paths.map((path) => manifestLine({ sha256, path })).join("");
      expect(parseManifest(text)).toEqual({ entries: paths.map((path) => ({ sha256, path })), faults: [] });
    }),
  );
});

test("line ends of other systems, tabs, upper-case digits and a last line without its end are read", () => {
  const text = `${sha256.toUpperCase()}\tdata/a\r\n${sha256} \t data/b b\r${sha256}  data/%c3%0d`;
  expect(parseManifest(text.replace("%c3", "%25"))).toEqual({
    entries: ["data/a", "data/b b", "data/%\r"].map((path) => ({ sha256, path })),
    faults: [],
  });
  expect(parseManifest("")).toEqual({ entries: [], faults: [] });
});

describe("a line with a fault is told and gives no entry", () => {
  test.each([
    ["\n", '"" is not a digest, white space and a path'],
    [`${sha256}\n`, "is not a digest, white space and a path"],
    [`${sha256}  \n`, "is not a digest, white space and a path"],
    [` ${line("data/x")}`, "is not a digest, white space and a path"],
    [`\ufeff${line("data/x")}`, "byte order mark"],
    [`${sha256.slice(1)}  data/x\n`, "is no SHA-256 in 64 hexadecimal digits"],
    [`${sha256}0  data/x\n`, "is no SHA-256"],
    [`${"zz".repeat(32)}  data/x\n`, "is no SHA-256"],
    [line("data/50%"), "percent sign"],
    [line("data/%41"), "percent sign"],
    [line("/etc/passwd"), 'the path "/etc/passwd" is not below the bag\'s folder'],
    [line("~root/x"), "is not below the bag's folder"],
    [line("c:x"), "is not below the bag's folder"],
    [line("data/../../x"), "leads out of its folder by .."],
    [line(".."), "leads out of its folder by .."],
    [line("data/./x"), "has an empty segment or one that is ."],
    [line("data//x"), "has an empty segment"],
    [line("data/"), "has an empty segment"],
    [line("data\\x"), "has a backslash"],
    [line("data/\0"), "has the character U+0000"],
    [line(`data/${"x".repeat(5_000)}`), "has more than 4096 characters"],
    [line("data/\u001b[2J\u202e/../"), '"data/\\u001b[2J\\u{202e}/../" leads out'],
  ])("number %#", (text, message) => {
    const { entries, faults } = parseManifest(`${line("data/first")}${text}${line("data/last")}`, "m.txt");
    expect(entries.map(({ path }) => path)).toEqual(["data/first", "data/last"]);
    expect(faults).toEqual([
      { code: "manifest_line", path: "m.txt", message: expect.stringContaining(message) },
    ]);
    expect(faults[0]?.message).toMatch(/^Line 2 of m\.txt: /);
    expect(faults[0]?.message.length).toBeLessThan(300);
  });

  test("a path that is named twice, also by another writing", () => {
    const { entries, faults } = parseManifest(line("data/%0a") + line("data/%0A"));
    expect(entries).toHaveLength(1);
    expect(faults[0]?.message).toBe('Line 2 of manifest-sha256.txt: "data/\\n" is named twice.');
  });
});

test("a file of nothing but faults is told in a hundred and one sentences", () => {
  const { entries, faults } = parseManifest("x\n".repeat(5_000));
  expect(entries).toEqual([]);
  expect(faults).toHaveLength(101);
  expect(faults.at(-1)?.message).toBe("4900 more lines of manifest-sha256.txt have a fault.");
});

test("any text gives an answer whose paths are all safe", () => {
  const some = fc.constantFrom(sha256, " ", "\t", "\n", "\r", "data/", "..", "/", "%", "0a", "\\", "x");
  fc.assert(
    fc.property(fc.array(fc.oneof(some, fc.string({ unit: "binary", maxLength: 3 }))), (parts) => {
      const { entries } = parseManifest(parts.join(""));
      for (const { path } of entries) expect(pathFault(path)).toBeUndefined();
    }),
    { numRuns: 1_000 },
  );
});
