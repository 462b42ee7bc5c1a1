import { expect, test } from "vitest";
import { parseTraceparent } from "./traceparent.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const parentId = "00f067aa0ba902b7";
const sampled = { traceId, parentId, isSampled: true };
const unsampled = { ...sampled, isSampled: false };

// Values of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers and what the text around says.
test.each([
  [`00-${traceId}-${parentId}-01`, sampled],
  [`00-${traceId}-${parentId}-03`, sampled],
  [`00-${traceId}-${parentId}-ff`, sampled],
  [`01-${traceId}-${parentId}-01-what-the-future-will-be-like`, sampled],
  [`00-${traceId}-${parentId}-00`, unsampled],
  [`00-${traceId}-${parentId}-02`, unsampled],
  [`00-${traceId}-${parentId}-01-more`, undefined],
  [`01-${traceId}-${parentId}-01-${"x".repeat(1_000)}`, undefined],
  [`ff-${traceId}-${parentId}-01`, undefined],
  [`00-${"0".repeat(32)}-${parentId}-01`, undefined],
  [`00-${traceId}-${"0".repeat(16)}-01`, undefined],
  [`00-${traceId.toUpperCase()}-${parentId}-01`, undefined],
  [`00-${traceId}-${parentId}-1`, undefined],
  [` 00-${traceId}-${parentId}-01`, undefined],
  ["", undefined],
  [undefined, undefined],
  [[`00-${traceId}-${parentId}-01`], undefined],
])("the header %s is read", (header, expected) => {
  expect(parseTraceparent(header)).toEqual(expected);
});
