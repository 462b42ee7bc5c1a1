import { expect, test } from "vitest";
import { createExemplar } from "./exemplar.ts";

test("names and values together may have 128 characters, as many bytes as those take", () => {
  expect(createExemplar({ id: "x".repeat(126) }, 1)?.labels).toEqual({ id: "x".repeat(126) });
  expect(createExemplar({ id: "🙂".repeat(126) }, 1)?.labels).toEqual({ id: "🙂".repeat(126) });
  for (const labels of [
    { id: "x".repeat(127) },
    { id: "🙂".repeat(127) },
    { id: "x".repeat(63), no: "x".repeat(62) },
  ])
    expect(() => createExemplar(labels, 1)).toThrow(
      new RangeError("got exemplar labels of 129 characters, accepts 128"),
    );
});

test("values become texts, those that are undefined are left out, and without any there is no exemplar", () => {
  expect(createExemplar({ id: 7, none: undefined }, 1)?.labels).toEqual({ id: "7" });
  expect(createExemplar({ none: undefined }, 1)).toBeUndefined();
  expect(createExemplar({}, 1)).toBeUndefined();
});

test("it holds a copy of the labels, the value and the time", () => {
  const labels = { id: "7" };
  const before = Date.now();
  const exemplar = createExemplar(labels, 2.5);
  labels.id = "8";
  expect(exemplar?.labels).toEqual({ id: "7" });
  expect(exemplar?.value).toBe(2.5);
  expect(exemplar?.timestampMs).toBeGreaterThanOrEqual(before);
});
