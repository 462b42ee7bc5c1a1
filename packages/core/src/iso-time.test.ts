import fc from "fast-check";
import { expect, test } from "vitest";
import { isoTime } from "./iso-time.ts";

const anyTime = fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 });

test("it is what Date says, in whatever order times come", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(anyTime, fc.integer({ min: 0, max: 3_000 })), { minLength: 1 }),
      (times) => {
        for (const time of times) expect(isoTime(time)).toBe(new Date(time).toISOString());
      },
    ),
  );
});

test("without a time it is now", () => {
  const before = Date.now();
  const now = new Date(isoTime()).getTime();
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(Date.now());
});
