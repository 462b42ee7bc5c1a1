// Tokens that are single bytes: every character beyond ASCII is cut in the middle.
import fc from "fast-check";
import type { Token } from "node-llama-cpp";
import { expect, test } from "vitest";
import { createTokenText } from "./token-text.ts";

const bytesOf = (text: string): Token[] => [...Buffer.from(text, "utf8")] as Token[];
const detokenize = (tokens: readonly Token[]) => Buffer.from(tokens).toString("utf8");

function decode(tokens: readonly Token[]) {
  const text = createTokenText(detokenize);
  return [...tokens.map((token) => text.push(token)), text.end()];
}

test("a character comes out when its last byte has come", () => {
  expect(decode(bytesOf("né🎉"))).toEqual(["n", "", "é", "", "", "", "🎉", ""]);
});

test("the bytes of a character that was not completed are left out at the end", () => {
  expect(decode(bytesOf("a🎉").slice(0, -1))).toEqual(["a", "", "", "", ""]);
});

test("bytes that never become a character come out as U+FFFD, not held for ever", () => {
  const pieces = decode([0xff, 0xff, 0xff, 0xff, 0xff, 0x61] as Token[]);
  expect(pieces.join("")).toBe("\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDa");
});

test("U+FFFD that the model wrote is kept when more follows", () => {
  expect(decode(bytesOf("a\uFFFDb")).join("")).toBe("a\uFFFDb");
});

test("any text comes out as it went in, in whole characters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      fc.pre(text.isWellFormed() && !text.includes("\uFFFD"));
      const pieces = decode(bytesOf(text));
      expect(pieces.join("")).toBe(text);
      expect(pieces.every((piece) => piece.isWellFormed() && !piece.includes("\uFFFD"))).toBe(true);
    }),
  );
});
