import { expect, test } from "vitest";
import { isSaneId } from "./sane-id.ts";

test.each([
  "01a20ef6-9a1a-7d9c-9a7e-d61b7f8c2f5c",
  "req_01a20ef69a1a7d9c9a7ed61b7f8c2f5c",
  "batch:2026-11/7",
  "x".repeat(128),
])("%s is passed on", (id) => {
  expect(isSaneId(id)).toBe(true);
});

test.each([
  "",
  "x".repeat(129),
  "two words",
  "a\nb",
  'a"b',
  "Zoë",
  "jane@example.com",
  `sk-${"a1B2".repeat(11)}`,
  "4111111111111111",
  7,
  undefined,
  ["a"],
])("%s is not", (id) => {
  expect(isSaneId(id)).toBe(false);
});
