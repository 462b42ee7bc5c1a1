import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createRecentValues } from "./recent-values.ts";

function atTime() {
  const clock = { nowMs: 12_345 };
  return { clock, recent: createRecentValues({ most: 1_000_000, nowMs: () => clock.nowMs }) };
}

describe("recent values", () => {
  test("are there for a minute, and no longer than 10 s more", () => {
    const { clock, recent } = atTime();
    recent.record(500_000);
    clock.nowMs += 60_000;
    recent.record(1);
    expect(recent.read()).toMatchObject({ count: 2, min: 1 });
    expect(recent.read()?.max).toBeCloseTo(500_000, -4);
    clock.nowMs += 10_000;
    expect(recent.read()).toMatchObject({ count: 1, max: 1 });
  });

  test("are none at first, and none after a long time", () => {
    const { clock, recent } = atTime();
    expect(recent.read()).toBeUndefined();
    recent.record(5);
    clock.nowMs += 86_400_000;
    expect(recent.read()).toBeUndefined();
    recent.record(6);
    expect(recent.read()).toMatchObject({ count: 1, min: 6 });
  });

  test("are the same for all who read, however often", () => {
    const { recent } = atTime();
    for (let value = 1; value <= 100; value += 1) recent.record(value);
    for (let reader = 0; reader < 3; reader += 1) {
      expect(recent.read()).toMatchObject({
        count: 100,
        min: 1,
        max: 100,
        mean: 50.5,
        p50: 50,
        p90: 90,
        p99: 99,
      });
    }
  });

  test("beyond the most count as the most", () => {
    const { recent } = atTime();
    recent.record(1e12);
    expect(recent.read()?.max).toBeCloseTo(1_000_000, -4);
  });

  test("are what was recorded in the parts of the last minute, to 1 %", () => {
    const steps = fc.array(
      fc.record({
        // Often within the same part, and at times further than all of them.
        afterMs: fc.oneof({ weight: 9, arbitrary: fc.nat({ max: 25_000 }) }, fc.nat({ max: 300_000 })),
        value: fc.integer({ min: 1, max: 1_000_000 }),
      }),
      { minLength: 1, maxLength: 60 },
    );
    fc.assert(
      fc.property(steps, (taken) => {
        const { clock, recent } = atTime();
        const recorded: { readonly part: number; readonly value: number }[] = [];
        for (const { afterMs, value } of taken) {
          clock.nowMs += afterMs;
          const part = Math.floor(clock.nowMs / 10_000);
          recent.record(value);
          recorded.push({ part, value });
          const expected = recorded.filter((one) => one.part > part - 7).map((one) => one.value);
          const read = recent.read();
          expect(read?.count).toBe(expected.length);
          const max = Math.max(...expected);
          expect(Math.abs((read?.max ?? 0) - max)).toBeLessThanOrEqual(max / 100);
          const min = Math.min(...expected);
          expect(Math.abs((read?.min ?? 0) - min)).toBeLessThanOrEqual(min / 100);
        }
      }),
    );
  });
});
