import fc from "fast-check";
import { expect, test } from "vitest";
import { type AccessSample, createAccessSample } from "./access-sample.ts";

const id = "0".repeat(32);
const at =
  (sample: AccessSample) =>
  (nowMs: number): boolean =>
    sample(nowMs, id);

test("without a sample every line is written", () => {
  const sample = createAccessSample(undefined);
  expect([1, 1, 1].map(at(sample))).toEqual([true, true, true]);
});

test("of a share, the random digits of an id decide; all and none are exact", () => {
  const quarter = createAccessSample({ share: 0.25 });
  const ids = ["0", "4", "bf", "c0", "c", "f"].map((digits) => digits.padEnd(14, "0").padStart(32, "7"));
  expect(ids.map((one) => quarter(0, one))).toEqual([false, false, false, true, true, true]);
  expect(createAccessSample({ share: 1 })(0, id)).toBe(true);
  expect(createAccessSample({ share: 0 })(0, "f".repeat(32))).toBe(false);
});

test("lines of a second are written, and no more until a part of the next has passed", () => {
  const sample = at(createAccessSample({ linesPerSecond: 2 }));
  expect([0, 0, 0].map(sample)).toEqual([true, true, false]);
  expect([499, 500, 501].map(sample)).toEqual([false, true, false]);
  // A quiet hour gives no more than a second does.
  expect([3_600_000, 3_600_000, 3_600_000].map(sample)).toEqual([true, true, false]);
});

test("less than one line a second is one every so many seconds, and 0 is none", () => {
  const sample = at(createAccessSample({ linesPerSecond: 0.1 }));
  expect([0, 5_000, 9_999, 10_000, 10_001].map(sample)).toEqual([true, false, false, true, false]);
  expect(createAccessSample({ linesPerSecond: 0 })(1e9, id)).toBe(false);
});

test("however requests come, no more is written than the rate allows and one second's lines besides", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.01, max: 1_000, noNaN: true }),
      fc.array(fc.integer({ min: -10, max: 3_000 }), { minLength: 1, maxLength: 200 }),
      (linesPerSecond, steps) => {
        const sample = at(createAccessSample({ linesPerSecond }));
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
