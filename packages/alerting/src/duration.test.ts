import fc from "fast-check";
import { expect, test } from "vitest";
import { divideDuration, durationMs, formatDuration } from "./duration.ts";

test.each([
  ["5m", 300_000],
  ["1h30m", 5_400_000],
  ["250ms", 250],
  ["1y2w3d4h5m6s7ms", 33_019_506_007],
  ["0", 0],
  ["0s", 0],
])("%s is %d ms", (text, ms) => {
  expect(durationMs(text)).toBe(ms);
});

test.each(["", "5", "5 m", "-5m", "1.5h", "5m1h", "m", "5M"])("%j is no duration", (text) => {
  expect(durationMs(text)).toBeUndefined();
});

test("what is written can be read, whatever it is", () => {
  fc.assert(
    fc.property(fc.nat({ max: 10 ** 12 }), (ms) => {
      expect(durationMs(formatDuration(ms))).toBe(ms);
    }),
  );
  expect([60_000, 90_000, 1_500, 172_800_000].map(formatDuration)).toEqual(["1m", "90s", "1500ms", "2d"]);
});

test("a divided duration is never nothing, unless it was", () => {
  expect(divideDuration(300_000, 60)).toBe(5_000);
  expect(divideDuration(1_000, 60)).toBe(17);
  expect(divideDuration(10, 1_000)).toBe(1);
  expect(divideDuration(0, 1_000)).toBe(0);
});
