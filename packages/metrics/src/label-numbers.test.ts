import { expect, test } from "vitest";
import { absent, LabelNumbers } from "./label-numbers.ts";

test("a value keeps its number as long as a series has it, and then another value gets it", () => {
  const numbers = new LabelNumbers();
  const get = numbers.take("GET");
  expect(numbers.take("GET")).toBe(get);
  const post = numbers.take("POST");
  expect(post).not.toBe(get);
  numbers.release(get);
  expect(numbers.byValue.GET).toBe(get);
  numbers.release(get);
  expect(numbers.byValue.GET).toBeUndefined();
  expect(numbers.take("PUT")).toBe(get);
  expect([numbers.textOf(get), numbers.textOf(post)]).toEqual(["PUT", "POST"]);
});

test("an empty value is an absent one, always", () => {
  const numbers = new LabelNumbers();
  expect(numbers.take("")).toBe(absent);
  numbers.take("x");
  numbers.clear();
  expect(numbers.byValue.x).toBeUndefined();
  expect(numbers.byValue[""]).toBe(absent);
  expect(numbers.textOf(absent)).toBe("");
});
