import { expect, test } from "vitest";
import { sampledTraceId } from "./traceparent.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const parentId = "00f067aa0ba902b7";

// Values of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers and what the text around says.
test.each([
  [`00-${traceId}-${parentId}-01`, traceId],
  [`00-${traceId}-${parentId}-03`, traceId],
  [`00-${traceId}-${parentId}-ff`, traceId],
  [`01-${traceId}-${parentId}-01-what-the-future-will-be-like`, traceId],
  [`00-${traceId}-${parentId}-00`, undefined],
  [`00-${traceId}-${parentId}-02`, undefined],
  [`00-${traceId}-${parentId}-01-more`, undefined],
  [`ff-${traceId}-${parentId}-01`, undefined],
  [`00-${"0".repeat(32)}-${parentId}-01`, undefined],
  [`00-${traceId}-${"0".repeat(16)}-01`, undefined],
  [`00-${traceId.toUpperCase()}-${parentId}-01`, undefined],
  [`00-${traceId}-${parentId}-1`, undefined],
  [` 00-${traceId}-${parentId}-01`, undefined],
  ["", undefined],
  [undefined, undefined],
  [[`00-${traceId}-${parentId}-01`], undefined],
])("the header %s has the sampled trace %s", (header, expected) => {
  expect(sampledTraceId(header)).toBe(expected);
});
