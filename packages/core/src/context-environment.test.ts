import { expect, test } from "vitest";
import { contextEnvironment, contextFromEnvironment } from "./context-environment.ts";
import { runInContext } from "./request-context.ts";

const requestId = `req_${"0123456789abcdef".repeat(2)}`;
const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";
const traceparent = `00-${traceId}-${spanId}-01`;

test("a program that is started in a context has the same one", () => {
  expect(contextEnvironment()).toEqual({});
  const span = { traceId, spanId, isKept: true, traceparent, tracestate: "a=1" };
  const environment = runInContext({ correlationId: "order-17", requestId, span }, contextEnvironment);
  expect(environment).toEqual({
    ECTUS_CORRELATION_ID: "order-17",
    ECTUS_REQUEST_ID: requestId,
    TRACEPARENT: traceparent,
    TRACESTATE: "a=1",
  });
  expect(contextFromEnvironment(environment)).toEqual({
    correlationId: "order-17",
    requestId,
    span: { ...span, isKept: false },
  });
});

test("what is not sane is left out, and nothing makes no context", () => {
  expect(contextFromEnvironment({})).toBeUndefined();
  expect(
    contextFromEnvironment({
      ECTUS_CORRELATION_ID: "a\nb",
      ECTUS_REQUEST_ID: "req_1",
      TRACEPARENT: `00-${"0".repeat(32)}-${spanId}-01`,
    }),
  ).toBeUndefined();
  expect(contextFromEnvironment({ ECTUS_CORRELATION_ID: "ada@example.org" })).toBeUndefined();
  const context = contextFromEnvironment({ ECTUS_CORRELATION_ID: "order-17", TRACESTATE: "x\u0000" });
  expect(context).toEqual({
    correlationId: "order-17",
    requestId: expect.stringMatching(/^req_[\da-f]{32}$/),
  });
  const traced = contextFromEnvironment({ TRACEPARENT: traceparent, TRACESTATE: "x\n" });
  expect(traced?.correlationId).toBe(traced?.requestId);
  expect(traced?.span).toMatchObject({ traceId, spanId, tracestate: undefined });
});
