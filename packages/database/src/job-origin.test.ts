import fc from "fast-check";
import { expect, test } from "vitest";
import { jobData, readJobData } from "./job-origin.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const parentId = "00f067aa0ba902b7";
const traceparent = `00-${traceId}-${parentId}-01`;
const ids = { correlationId: "order-17:a/b", requestId: "req_0193" };

test("what a request leaves in a job's data is read back, also after it was stored as JSON", () => {
  const span = { traceId, spanId: parentId, isKept: true, traceparent, tracestate: "vendor=secret" };
  const stored = JSON.parse(JSON.stringify(jobData({ ...ids, span, tenantId: "t" })));
  expect(Object.keys(stored).sort()).toEqual(["correlationId", "requestId", "traceparent"]);
  expect(readJobData(stored)).toEqual({ ...ids, trace: { traceId, parentId, isSampled: true } });
});

test("of a request without a trace the ids are read", () => {
  expect(readJobData(JSON.parse(JSON.stringify(jobData(ids))))).toEqual({ ...ids, trace: undefined });
  expect(readJobData({ ...ids, traceparent: "00-forged" })).toEqual({ ...ids, trace: undefined });
});

test.each([
  null,
  undefined,
  "text",
  1,
  [],
  {},
  { ...ids, correlationId: "a\nb" },
  { ...ids, requestId: "" },
  { ...ids, correlationId: "someone@example.org" },
])("%j is no origin", (data) => {
  expect(readJobData(data)).toBeUndefined();
});

test("whatever is stored, no id breaks a line or is longer than 128 characters", () => {
  fc.assert(
    fc.property(
      fc.anything(),
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.string(),
      (any, correlationId, requestId) => {
        readJobData(any);
        const origin = readJobData({ correlationId, requestId });
        if (origin !== undefined) expect(origin.correlationId).toMatch(/^[!-~]{1,128}$/);
      },
    ),
  );
});
