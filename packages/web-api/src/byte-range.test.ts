import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Representation, selectBytes } from "./byte-range.ts";

const of = (bytes: number): Representation => ({
  bytes,
  etag: '"a-tag"',
  modifiedAt: new Date("2026-01-02T03:04:05.678Z"),
});
const select = (bytes: number, range: string, headers: Record<string, string> = {}, method = "GET") =>
  selectBytes(method, { range, ...headers }, of(bytes));
const whole = { status: 200, start: 0, end: 9_999 };

describe("a range", () => {
  // RFC 9110, section 14.1.2, has these, of 10,000 bytes.
  test.each([
    ["bytes=0-499", 0, 499],
    ["bytes=500-999", 500, 999],
    ["bytes=-500", 9_500, 9_999],
    ["bytes=9500-", 9_500, 9_999],
    ["bytes=0-0", 0, 0],
    ["bytes=-1", 9_999, 9_999],
    ["bytes=0-", 0, 9_999],
    ["bytes=9999-10000000", 9_999, 9_999],
    ["bytes=-20000", 0, 9_999],
    [`bytes=1-${"9".repeat(400)}`, 1, 9_999],
    [`bytes=-${"9".repeat(400)}`, 0, 9_999],
    ["BYTES= 1-2\t", 1, 2],
  ])("%s is answered", (range, start, end) => {
    expect(select(10_000, range)).toEqual({ status: 206, start, end });
  });

  test.each(["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=-000", `bytes=${"9".repeat(400)}-`])(
    "%s is not satisfiable",
    (range) => {
      expect(select(10_000, range)).toEqual({ status: 416 });
    },
  );

  test.each([
    "bytes=2-1",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=1",
    "bytes 0-1",
    "bytes=0-1,3-4",
    "bytes=+1-2",
    "bytes=1.5-2",
    "bytes=0x1-2",
    "bytes=--1",
    "rows=0-1",
    "",
    "bytes=0-1\u00a0",
  ])("%j is none, and ignored", (range) => {
    expect(select(10_000, range)).toEqual(whole);
  });

  test("of nothing cannot begin anywhere", () => {
    expect(select(0, "bytes=0-")).toEqual({ status: 416 });
    expect(select(0, "bytes=-5")).toEqual({ status: 200, start: 0, end: -1 });
  });

  test("is for GET alone", () => {
    expect(select(10_000, "bytes=1-2", {}, "HEAD")).toEqual(whole);
  });

  test("of any numbers is what Buffer's slice gives, or none", () => {
    const number = fc.nat({ max: 60 });
    fc.assert(
      fc.property(number, number, number, (bytes, first, last) => {
        const content = Buffer.from(Array.from({ length: bytes }, (_, index) => index));
        const chosen = select(bytes, `bytes=${first}-${last}`);
        if (last < first) expect(chosen).toEqual({ status: 200, start: 0, end: bytes - 1 });
        else if (first >= bytes) expect(chosen).toEqual({ status: 416 });
        else {
          const { status, start, end } = chosen as { status: number; start: number; end: number };
          expect(status).toBe(206);
          expect(content.subarray(start, end + 1)).toEqual(content.subarray(first, last + 1));
        }
      }),
    );
  });

  test("never leads out of what there is, whatever the header says", () => {
    const header = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(..."bytes=-,0123456789 ") }).map((text) => `bytes=${text}`),
    );
    fc.assert(
      fc.property(header, fc.nat({ max: 1_000 }), (range, bytes) => {
        const chosen = select(bytes, range);
        if (chosen.status === 416 || chosen.status === 304) return;
        expect(chosen.start).toBeGreaterThanOrEqual(0);
        expect(chosen.end).toBeLessThan(bytes);
        if (chosen.status === 206) expect(chosen.end).toBeGreaterThanOrEqual(chosen.start);
      }),
    );
  });
});

describe("If-Range", () => {
  test.each([
    ['"a-tag"', 206],
    ["Fri, 02 Jan 2026 03:04:05 GMT", 206],
    ['W/"a-tag"', 200],
    ['"another"', 200],
    ["a-tag", 200],
    ["Fri, 02 Jan 2026 03:04:06 GMT", 200],
    ["2026-01-02T03:04:05Z", 200],
    ["", 200],
    ['"a-tag", "a-tag"', 200],
  ])("of %s is answered with %i", (ifRange, status) => {
    expect(select(10_000, "bytes=1-2", { "if-range": ifRange }).status).toBe(status);
  });

  test("that does not fit makes a range that cannot be the whole", () => {
    expect(select(10_000, "bytes=10000-", { "if-range": '"another"' })).toEqual(whole);
  });
});

describe("If-None-Match", () => {
  test.each([
    ['"a-tag"', 304],
    ['W/"a-tag"', 304],
    ['"another", "a-tag"', 304],
    [' "x",W/"a-tag" ,', 304],
    [" * ", 304],
    ['"another"', 200],
    ["a-tag", 200],
    ['"a-tag', 200],
    ["", 200],
  ])("of %s is answered with %i", (tags, status) => {
    for (const method of ["GET", "HEAD"])
      expect(selectBytes(method, { "if-none-match": tags }, of(10_000)).status).toBe(status);
  });

  test("goes before a range", () => {
    expect(select(10_000, "bytes=1-2", { "if-none-match": '"a-tag"' })).toEqual({ status: 304 });
  });
});
