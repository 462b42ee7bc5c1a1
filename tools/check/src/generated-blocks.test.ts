import { expect, test } from "vitest";
import { rewriteBlocks } from "./generated-blocks.ts";

const generators = { one: async () => "first\n", two: async () => "second" };

test("blocks are made anew and the text around them stays", async () => {
  const before =
    "# A\n<!-- generated:one -->\nold\n<!-- /generated -->\nmiddle\n<!-- generated:two --><!-- /generated -->\nend";
  const { text, stale, faults } = await rewriteBlocks(before, generators);
  expect(text).toBe(
    "# A\n<!-- generated:one -->\n\nfirst\n\n<!-- /generated -->\nmiddle\n<!-- generated:two -->\n\nsecond\n\n<!-- /generated -->\nend",
  );
  expect(stale).toEqual(["one", "two"]);
  expect(faults).toEqual([]);
});

test("a text that was made anew is up to date", async () => {
  const { text } = await rewriteBlocks("<!-- generated:one --><!-- /generated -->", generators);
  expect(await rewriteBlocks(text, generators)).toEqual({ text, stale: [], faults: [] });
});

test.each([
  ["<!-- generated:none -->\nold\n<!-- /generated -->", "line 3: no block is called none; known: one, two"],
  [
    "<!-- generated:toString -->\n<!-- /generated -->",
    "line 2: no block is called toString; known: one, two",
  ],
  ["<!-- generated:one -->\nold", "block one is not closed"],
  ["old\n<!-- /generated -->", "line 2: <!-- /generated --> closes nothing"],
])("the text %j keeps its content and is reported", async (text, fault) => {
  expect(await rewriteBlocks(text, generators)).toEqual({ text, stale: [], faults: [fault] });
});

test("a block that is opened inside another is reported, and the inner one is made", async () => {
  const before = "<!-- generated:one -->\n<!-- generated:two --><!-- /generated -->";
  const { stale, faults } = await rewriteBlocks(before, generators);
  expect(stale).toEqual(["two"]);
  expect(faults).toEqual(["line 2: block one is not closed before this one"]);
});
