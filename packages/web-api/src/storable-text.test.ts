import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { refuseUnstorable, replaceUnstorable } from "./storable-text.ts";

const faultOf = (value: unknown, param?: string): unknown => {
  try {
    refuseUnstorable(value, param);
    return undefined;
  } catch (error) {
    return (error as { details: unknown }).details;
  }
};

// Texts with many of the characters in question, and with what looks like them once escaped.
const text = fc
  .array(fc.constantFrom("\u0000", "\ud83e", "\udd80", "a", "\\", "\\u0000", "\\ud800", '"'), {
    maxLength: 6,
  })
  .map((parts) => parts.join(""));
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    text,
    fc.integer(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(text, tie("value"), { maxKeys: 3 }),
  ),
})).value;

describe("what a client sends", () => {
  test("is refused with the name of the field and the character", () => {
    expect(faultOf("a\u0000", "name")).toEqual({ param: "name", character: "the character U+0000" });
    expect(faultOf("a\ud800", "name")).toEqual({ param: "name", character: "half of a surrogate pair" });
    expect(faultOf({ a: [1, { b: "\u0000" }] }, "x")).toMatchObject({ param: "x.a[1].b" });
    expect(faultOf({ a: { b: "\u0000" } })).toMatchObject({ param: "a.b" });
    expect(faultOf({ a: { "\u0000": 1 } })).toMatchObject({ param: "a" });
    expect(faultOf({ "\u0000": 1 })).toEqual({ character: "the character U+0000" });
  });

  test("passes where there is none", () => {
    for (const value of ["", "🦀", "\\u0000", 7, null, undefined, true, [], { a: ["b"] }])
      expect(faultOf(value, "x")).toBeUndefined();
  });
});

describe("what a model wrote", () => {
  test("has a replacement for each, and is marked", () => {
    expect(replaceUnstorable({ a: "x\u0000y", "\u0000": ["\ud800"] })).toEqual({
      value: { a: "x\ufffdy", "\ufffd": ["\ufffd"] },
      replaced: true,
    });
  });

  test("can be stored after that, is unchanged where it could be before, and is marked only if it changed", () => {
    fc.assert(
      fc.property(json, (value) => {
        const result = replaceUnstorable(value);
        expect(faultOf(result.value, "x")).toBeUndefined();
        expect(result.replaced).toBe(faultOf(value, "x") !== undefined);
        if (!result.replaced) expect(result.value).toEqual(value);
      }),
    );
  });
});
