import fc from "fast-check";
import { expect, test } from "vitest";
import { scrapeTimeoutMs, wantsGzip } from "./scrape-answer.ts";

test.each([
  // What Prometheus sends.
  ["gzip", true],
  ["gzip, deflate, br", true],
  ["GZIP;q=0.5", true],
  ["x-gzip", true],
  ["*", true],
  ["br;q=1, *;q=0.1", true],
  ["gzip;q=0.5, identity;q=0.5", true],
  ["identity;q=0, gzip;q=0.001", true],
  [undefined, false],
  ["", false],
  ["identity", false],
  ["deflate, br", false],
  ["gzip;q=0", false],
  ["gzip; q=0.000", false],
  ["*, gzip;q=0", false],
  ["*;q=0", false],
  ["identity, gzip;q=0.5", false],
  ["gzip;q=2", false],
  ["gzip;q=", false],
])("an Accept-Encoding of %j wants gzip: %s", (header, wanted) => {
  expect(wantsGzip(header)).toBe(wanted);
});

test.each([
  ["10", 9_500],
  ["10.000000", 9_500],
  ["1", 900],
  ["0.2", 180],
  ["1e1", 9_500],
  // Bounds.
  ["0.001", 100],
  ["86400", 120_000],
  ["1e999", 120_000],
  // What is no time is as if it were not there.
  [undefined, 9_500],
  ["0", 9_500],
  ["-1", 9_500],
  ["soon", 9_500],
  ["0x10", 9_500],
])("a scraper that waits %s seconds gets its answer within %d ms", (header, timeoutMs) => {
  expect(scrapeTimeoutMs(header)).toBe(timeoutMs);
});

test("whatever is sent, there is a timeout within bounds and a decision", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.double().map(String)), (header) => {
      const timeoutMs = scrapeTimeoutMs(header);
      expect(timeoutMs).toBeGreaterThanOrEqual(100);
      expect(timeoutMs).toBeLessThanOrEqual(120_000);
      expect(typeof wantsGzip(header)).toBe("boolean");
    }),
  );
});
