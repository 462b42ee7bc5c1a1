import fc from "fast-check";
import { expect, test } from "vitest";
import { createAccessSample } from "./access-sample.ts";

test("without a sample every line is written", () => {
  const sample = createAccessSample(undefined);
  expect([1, 1, 1].map(sample)).toEqual([true, true, true]);
});

test("of a share, chance decides; all and none are exact", () => {
  const draws = [0, 0.24, 0.25, 0.9];
  const quarter = createAccessSample({ share: 0.25 }, () => draws.shift() as number);
  expect([0, 0, 0, 0].map(quarter)).toEqual([true, true, false, false]);
  expect(createAccessSample({ share: 1 })(0)).toBe(true);
  expect(createAccessSample({ share: 0 })(0)).toBe(false);
});

test("lines of a second are written, and no more until a part of the next has passed", () => {
  const sample = createAccessSample({ linesPerSecond: 2 });
  expect([0, 0, 0].map(sample)).toEqual([true, true, false]);
  expect([499, 500, 501].map(sample)).toEqual([false, true, false]);
  // A quiet hour gives no more than a second does.
  expect([3_600_000, 3_600_000, 3_600_000].map(sample)).toEqual([true, true, false]);
});

test("less than one line a second is one every so many seconds, and 0 is none", () => {
  const sample = createAccessSample({ linesPerSecond: 0.1 });
  expect([0, 5_000, 9_999, 10_000, 10_001].map(sample)).toEqual([true, false, false, true, false]);
  expect(createAccessSample({ linesPerSecond: 0 })(1e9)).toBe(false);
});

test("however requests come, no more is written than the rate allows and one second's lines besides", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.01, max: 1_000, noNaN: true }),
      fc.array(fc.integer({ min: -10, max: 3_000 }), { minLength: 1, maxLength: 200 }),
      (linesPerSecond, steps) => {
        const sample = createAccessSample({ linesPerSecond });
        let now = 0;
        let latest = 0;
        let written = 0;
        for (const step of steps) {
          now += step;
          latest = Math.max(latest, now);
          if (sample(now)) written += 1;
        }
        expect(written).toBeLessThanOrEqual(Math.max(linesPerSecond, 1) + (latest / 1_000) * linesPerSecond);
      },
    ),
  );
});
