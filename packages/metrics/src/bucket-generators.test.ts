import official from "@prometheus-io/client";
import fc from "fast-check";
import { expect, test } from "vitest";
import { exponentialBuckets, linearBuckets } from "./bucket-generators.ts";

const count = fc.integer({ min: 1, max: 30 });

test("linear buckets are those of the official client", () => {
  expect(linearBuckets(0, 50, 4)).toEqual([0, 50, 100, 150]);
  const start = fc.double({ min: -1e6, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(start, fc.double({ min: 1e-6, max: 1e6, noNaN: true }), count, (from, width, many) => {
      expect(linearBuckets(from, width, many)).toEqual(official.linearBuckets(from, width, many));
    }),
  );
});

test("exponential buckets are those of the official client", () => {
  expect(exponentialBuckets(1, 2, 5)).toEqual([1, 2, 4, 8, 16]);
  const start = fc.double({ min: 1e-6, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(start, fc.double({ min: 1.001, max: 100, noNaN: true }), count, (from, factor, many) => {
      expect(exponentialBuckets(from, factor, many)).toEqual(official.exponentialBuckets(from, factor, many));
    }),
  );
});

test("what would give no ascending buckets is refused", () => {
  for (const call of [
    () => linearBuckets(0, 1, 0),
    () => linearBuckets(0, 1, 1.5),
    () => linearBuckets(0, 0, 2),
    () => linearBuckets(0, Number.NaN, 2),
    () => exponentialBuckets(0, 2, 2),
    () => exponentialBuckets(-1, 2, 2),
    () => exponentialBuckets(1, 1, 2),
    () => exponentialBuckets(1, 2, 0),
  ])
    expect(call).toThrow(RangeError);
});
