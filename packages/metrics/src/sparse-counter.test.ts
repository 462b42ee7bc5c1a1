import fc from "fast-check";
import { expect, test } from "vitest";
import { SparseCounter, type SparseCounts } from "./sparse-counter.ts";

const pairs = ({ indexes, counts }: SparseCounts): readonly (readonly [number, number])[] =>
  indexes.map((index, place) => [index, counts[place] as number]);

const ascending = (counts: ReadonlyMap<number, number>): readonly (readonly [number, number])[] =>
  [...counts].sort(([first], [second]) => first - second);

const anyIndexes = fc.array(
  fc.oneof(fc.integer({ min: -20, max: 20 }), fc.integer({ min: -275_000, max: 262_145 })),
  { maxLength: 400 },
);

test("every index has its count, in order, and is new once", () => {
  fc.assert(
    fc.property(anyIndexes, (indexes) => {
      const counter = new SparseCounter(0);
      const expected = new Map([[0, 1]]);
      for (const index of indexes) {
        expect(counter.add(index)).toBe(!expected.has(index));
        expected.set(index, (expected.get(index) ?? 0) + 1);
      }
      expect(pairs(counter)).toEqual(ascending(expected));
    }),
  );
});

test("halving merges neighbors, keeps every count, and counts on", () => {
  fc.assert(
    fc.property(anyIndexes, anyIndexes, (before, after) => {
      const counter = new SparseCounter(-1);
      const expected = new Map([[0, 1]]);
      for (const index of before) {
        counter.add(index);
        const half = Math.ceil(index / 2);
        expected.set(half, (expected.get(half) ?? 0) + 1);
      }
      counter.halve();
      for (const index of after) {
        counter.add(index);
        expected.set(index, (expected.get(index) ?? 0) + 1);
      }
      expect(pairs(counter)).toEqual(ascending(expected));
    }),
  );
});
