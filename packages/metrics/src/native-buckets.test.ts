import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type NativeBuckets, type NativeOptions, nativeShape } from "./native-buckets.ts";
import { indexOf } from "./native-index.ts";
import type { SparseCounts } from "./sparse-counter.ts";

const fill = (options: NativeOptions, values: Iterable<number>): NativeBuckets => {
  const buckets = nativeShape(options).create();
  for (const value of values) buckets.add(value);
  return buckets;
};

/** Pairs of index and count. */
const pairs = ({ indexes, counts }: SparseCounts): readonly (readonly [number, number])[] =>
  indexes.map((index, place) => [index, counts[place] as number]);

const total = ({ zeroCount, positive, negative }: NativeBuckets): number =>
  [...pairs(positive), ...pairs(negative)].reduce((sum, [, count]) => sum + count, zeroCount);

test("the schema is the coarsest whose growth factor is at most the one wanted", () => {
  for (const [factor, schema] of [
    [1.00001, 8],
    [1.0027, 8],
    [1.05, 4],
    [1.1, 3],
    [1.2, 2],
    [2, 0],
    [4, -1],
    [17, -2],
    [256, -3],
    [65_535, -3],
    [65_536, -4],
    [1e300, -4],
  ] as const)
    expect([factor, nativeShape({ factor }).schema]).toEqual([factor, schema]);
});

test("options that make no sense are refused with what is accepted", () => {
  for (const factor of [1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
    expect(() => nativeShape({ factor })).toThrow(`got the factor ${factor}`);
  expect(() => nativeShape({ factor: 2, zeroThreshold: -1 })).toThrow("got the zero threshold -1");
  expect(() => nativeShape({ factor: 2, maxBuckets: 0 })).toThrow("from 1 on");
  expect(() => nativeShape({ factor: 2, maxBuckets: 1.5 })).toThrow("from 1 on");
});

// The scenarios of TestNativeHistogram in client_golang v1.25.0, prometheus/histogram_test.go, that need neither a
// reset after a time nor a zero bucket that grows nor infinite values. Spans and deltas are written as index: count.
describe("as client_golang", () => {
  const signed = [-1, -1.2, -1.4, -1.8, -2];
  const upTo3 = [0, 1, 1.1, 1.2, 1.4, 1.8, 2, 3];
  const factorFourValues = [0.0156251, 0.0625, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 3.5, 5, 6, 7, 33.33];
  const five = { 0: 1, 2: 2, 4: 2 };
  for (const [name, options, values, schema, zeroCount, positive, negative] of [
    ["no observations", { factor: 1.1 }, [], 3, 0, {}, {}],
    ["factor 1.1", { factor: 1.1 }, [0, 1, 2, 3], 3, 1, { 0: 1, 8: 1, 13: 1 }, {}],
    ["factor 1.2", { factor: 1.2 }, [0, 1, 1.2, 1.4, 1.8, 2], 2, 1, five, {}],
    ["factor 4", { factor: 4 }, factorFourValues, -1, 0, { "-2": 2, "-1": 2, 0: 2, 1: 4, 2: 3, 3: 1 }, {}],
    ["factor 17", { factor: 17 }, factorFourValues, -2, 0, { "-1": 2, 0: 4, 1: 7, 2: 1 }, {}],
    ["negative buckets", { factor: 1.2 }, [0, ...signed], 2, 1, {}, five],
    [
      "negative and positive buckets",
      { factor: 1.2 },
      [0, ...signed, ...signed.map((v) => -v)],
      2,
      1,
      five,
      five,
    ],
    [
      "wide zero bucket",
      { factor: 1.2, zeroThreshold: 1.4 },
      [0, ...signed, ...signed.map((v) => -v)],
      2,
      7,
      { 4: 2 },
      { 4: 2 },
    ],
    ["limit not passed", { factor: 1.2, maxBuckets: 4 }, [0, 1, 1.2, 1.4, 1.8, 2], 2, 1, five, {}],
    [
      "limited by halving resolution",
      { factor: 1.2, maxBuckets: 4 },
      upTo3,
      1,
      1,
      { 0: 1, 1: 3, 2: 2, 4: 1 },
      {},
    ],
    [
      "limited by halving resolution, negative",
      { factor: 1.2, maxBuckets: 4 },
      upTo3.map((v) => -v),
      1,
      1,
      {},
      { 0: 1, 1: 3, 2: 2, 4: 1 },
    ],
  ] as readonly [
    string,
    NativeOptions,
    number[],
    number,
    number,
    Record<number, number>,
    Record<number, number>,
  ][]) {
    test(name, () => {
      const buckets = fill(options, values);
      expect({
        schema: buckets.schema,
        zeroThreshold: buckets.zeroThreshold,
        zeroCount: buckets.zeroCount,
        positive: Object.fromEntries(pairs(buckets.positive)),
        negative: Object.fromEntries(pairs(buckets.negative)),
      }).toEqual({
        schema,
        zeroThreshold: options.zeroThreshold ?? 2.938735877055719e-39,
        zeroCount,
        positive,
        negative,
      });
    });
  }
});

const anyValues = fc.array(
  fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.double({ min: 1e-4, max: 100, noNaN: true }),
    fc.constantFrom(0, -0, 1, -1),
  ),
  { maxLength: 300 },
);
const anyOptions = fc.record({
  factor: fc.constantFrom(1.003, 1.02, 1.1, 1.5, 2, 5, 300, 1e5),
  zeroThreshold: fc.constantFrom(undefined, 0, 1e-3, 1),
  maxBuckets: fc.constantFrom(undefined, 1, 3, 20),
});

test("every value is counted in the bucket that it belongs to at the schema in use", () => {
  fc.assert(
    fc.property(anyOptions, anyValues, (options, values) => {
      const buckets = fill(options, values);
      const beyond = (sign: number) => values.filter((value) => value * sign > buckets.zeroThreshold);
      const naive = (sign: number) => {
        const counts = new Map<number, number>();
        for (const value of beyond(sign)) {
          const index = indexOf(Math.abs(value), buckets.schema);
          counts.set(index, (counts.get(index) ?? 0) + 1);
        }
        return [...counts].sort(([first], [second]) => first - second);
      };
      expect(pairs(buckets.positive)).toEqual(naive(1));
      expect(pairs(buckets.negative)).toEqual(naive(-1));
      expect(total(buckets)).toBe(values.length);
    }),
    { numRuns: 300 },
  );
});

test("there are never more buckets than allowed but at the lowest resolution, and none is coarser than needed", () => {
  fc.assert(
    fc.property(anyOptions, anyValues, (options, values) => {
      const shape = nativeShape(options);
      const buckets = fill(options, values);
      const size = buckets.positive.indexes.length + buckets.negative.indexes.length;
      expect(size <= shape.maxBuckets || buckets.schema === -4).toBe(true);
      if (buckets.schema === shape.schema) return;
      const distinct = new Set(
        values
          .filter((value) => Math.abs(value) > shape.zeroThreshold)
          .map((value) => `${value < 0}${indexOf(Math.abs(value), buckets.schema + 1)}`),
      );
      expect(distinct.size).toBeGreaterThan(shape.maxBuckets);
    }),
    { numRuns: 300 },
  );
});

test("at the lowest resolution all values there are fit into 264 buckets", () => {
  const buckets = nativeShape({ factor: 2, zeroThreshold: 0, maxBuckets: 1 }).create();
  for (let exponent = -1074; exponent < 1024; exponent += 1) {
    buckets.add(2 ** exponent);
    buckets.add(-(2 ** exponent));
  }
  buckets.add(Number.MAX_VALUE);
  expect(buckets.schema).toBe(-4);
  expect(buckets.positive.indexes.length + buckets.negative.indexes.length).toBeLessThanOrEqual(264);
  expect(total(buckets)).toBe(2 * 2098 + 1);
});

test("a quantile is estimated within the bucket of the true one", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 1e-5, max: 1e5, noNaN: true }), { minLength: 1, maxLength: 500 }),
      fc.constantFrom(0.01, 0.5, 0.9, 0.95, 0.99, 1),
      (values, quantile) => {
        const { positive, schema } = fill({ factor: 1.1 }, values);
        const rank = Math.ceil(quantile * values.length);
        const truth = values.toSorted((first, second) => first - second)[rank - 1] as number;
        let seen = 0;
        const bucket = pairs(positive).find(([, count]) => {
          seen += count;
          return seen >= rank;
        });
        expect(bucket?.[0]).toBe(indexOf(truth, schema));
      },
    ),
  );
});
