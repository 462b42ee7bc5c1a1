import { newHexUuid } from "@ectus/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createSampler } from "./sampling.ts";

const id = fc.stringMatching(/^[\da-f]{32}$/);

test("of ids as they are made for requests, the share is chosen", () => {
  const isChosen = createSampler(0.01);
  let chosen = 0;
  for (let count = 0; count < 100_000; count += 1) if (isChosen(newHexUuid())) chosen += 1;
  // Six standard deviations.
  expect(Math.abs(chosen - 1_000)).toBeLessThan(190);
});

test("each digit of an id that decides is random, also of those made in one burst", () => {
  const ids = Array.from({ length: 100_000 }, newHexUuid);
  for (let at = 18; at < 32; at += 1) {
    const counts = new Map<string, number>();
    for (const { [at]: digit = "" } of ids) counts.set(digit, (counts.get(digit) ?? 0) + 1);
    const expected = ids.length / 16;
    const chiSquare = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    expect(counts.size).toBe(16);
    // 15 degrees of freedom: more in one of ten million runs.
    expect(chiSquare).toBeLessThan(67);
  }
  // Ids made one after the other do not follow each other there.
  const isChosen = createSampler(0.5);
  let pairs = 0;
  for (let at = 1; at < ids.length; at += 1)
    if (isChosen(ids[at] as string) === isChosen(ids[at - 1] as string)) pairs += 1;
  expect(Math.abs(pairs - ids.length / 2)).toBeLessThan(6 * Math.sqrt(ids.length / 4));
});

test("only the random digits decide, and what a smaller share chooses a larger one does, too", () => {
  fc.assert(
    fc.property(
      id,
      id,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (one, other, a, b) => {
        const [smaller, larger] = [createSampler(Math.min(a, b)), createSampler(Math.max(a, b))];
        expect(larger(one) || !smaller(one)).toBe(true);
        expect(smaller(other.slice(0, 18) + one.slice(18))).toBe(smaller(one));
      },
    ),
  );
});

test("none and all are exact", () => {
  for (const digits of ["0".repeat(32), "f".repeat(32)]) {
    expect(createSampler(0)(digits)).toBe(false);
    expect(createSampler(1)(digits)).toBe(true);
    // Too small a share for the digits is none, not all.
    expect(createSampler(Number.MIN_VALUE)(digits)).toBe(false);
  }
  // One of 2^56 ids, and two.
  for (const [ratio, last] of [
    [1.4e-17, "ffffffffffffff"],
    [2.8e-17, "fffffffffffffe"],
  ] as const) {
    expect(createSampler(ratio)(`${"0".repeat(18)}${last}`)).toBe(true);
    expect(createSampler(ratio)(`${"0".repeat(18)}fffffffffffffd`)).toBe(false);
    expect(createSampler(ratio)("a".repeat(32))).toBe(false);
  }
  expect(createSampler(0.5)(`${"0".repeat(18)}80000000000000`)).toBe(true);
  expect(createSampler(0.5)(`${"0".repeat(18)}7fffffffffffff`)).toBe(false);
});
