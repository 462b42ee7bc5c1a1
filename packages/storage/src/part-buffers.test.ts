import { expect, test } from "vitest";
import { createPartBuffers } from "./part-buffers.ts";

test("what is given back is taken again, and is never two takers'", () => {
  const buffers = createPartBuffers(8, 2);
  const [one, two, three] = [buffers.take(8), buffers.take(8), buffers.take(8)];
  expect(new Set([one, two, three]).size).toBe(3);
  buffers.giveBack(one);
  expect(buffers.take(8)).toBe(one);
  expect(buffers.take(8)).not.toBe(one);
});

test("no more are kept than may be, and none of another length", () => {
  const buffers = createPartBuffers(8, 1);
  const [large, one, two] = [buffers.take(9), buffers.take(8), buffers.take(8)];
  expect(large).toHaveLength(9);
  for (const buffer of [large, one, two]) buffers.giveBack(buffer);
  expect(buffers.take(9)).not.toBe(large);
  expect(buffers.take(8)).toBe(one);
  expect(buffers.take(8)).not.toBe(two);
});
