// Vectors after https://github.com/w3c/trace-context/blob/main/test/test.py
import fc from "fast-check";
import { expect, test } from "vitest";
import { createTraceState, parseTracestate } from "./tracestate.ts";

test.each([
  ["foo=1", "foo=1"],
  ["foo=1,bar=2", "foo=1,bar=2"],
  ["foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"],
  ["foo=1,", "foo=1"],
  ["foo=1,,,bar=2", "foo=1,bar=2"],
  ["0rojo=00f067aa0ba902b7,t61rcwkgmze@vendor=1", "0rojo=00f067aa0ba902b7,t61rcwkgmze@vendor=1"],
  ["foo= a b", "foo= a b"],
  [`${"z".repeat(256)}=1`, `${"z".repeat(256)}=1`],
  [["foo=1", "bar=2"], "foo=1,bar=2"],
])("%j is taken as %j", (header, expected) => {
  expect(parseTracestate(header)).toBe(expected);
});

test.each([
  [undefined],
  [""],
  [" , "],
  ["foo"],
  ["=1"],
  ["foo="],
  ["foo=1=2"],
  ["foo =1"],
  ["FOO=1"],
  ["foo.bar=1"],
  ["foo@=1"],
  ["@foo=1"],
  ["foo@0bar=1"],
  ["foo@bar@baz=1"],
  ["foo=1,foo=2"],
  ["foo=1;bar=2"],
  ["foo=\u0000"],
  ["foo=é"],
  ["foo=1\r\nx: y"],
  [`${"z".repeat(257)}=1`],
  [`${"t".repeat(242)}@v=1`],
  [`foo=${"1".repeat(257)}`],
  [`t=${"1".repeat(200)},u=${"1".repeat(200)},v=${"1".repeat(200)}`],
  [Array.from({ length: 33 }, (_, index) => `k${index}=1`).join(",")],
])("%j is dropped", (header) => {
  expect(parseTracestate(header)).toBeUndefined();
});

test("of anything, what is taken is short, of few members, printable, and taken again as it is", () => {
  const piece = fc.oneof(
    fc.constantFrom("a", "b=", "=", ",", " ", "\t", "@", "v1", "\n", "é", "_-*/", "c=d"),
    fc.string({ unit: "binary" }),
  );
  const header = fc.oneof(
    fc.string({ unit: "binary", maxLength: 600 }),
    fc.array(piece, { maxLength: 200 }).map((pieces) => pieces.join("")),
    fc.array(fc.array(piece).map((pieces) => pieces.join(""))),
  );
  fc.assert(
    fc.property(header, (given) => {
      const taken = parseTracestate(given);
      if (taken === undefined) return;
      expect(taken).toMatch(/^[\x20-\x7e]{3,512}$/);
      expect(taken.split(",").length).toBeLessThanOrEqual(32);
      expect(parseTracestate(taken)).toBe(taken);
      expect(createTraceState(taken).serialize()).toBe(taken);
    }),
  );
});

test("a member that changes comes first", () => {
  const state = createTraceState("a=1,b=2");
  expect(state.get("b")).toBe("2");
  expect(state.get("c")).toBeUndefined();
  expect(state.set("b", "3").serialize()).toBe("b=3,a=1");
  expect(state.unset("a").serialize()).toBe("b=2");
  expect(state.serialize()).toBe("a=1,b=2");
});
