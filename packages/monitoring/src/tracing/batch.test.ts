import { currentContext } from "@ectus/core";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { expect, test } from "vitest";
import { drawTree, inTrace } from "../../../../tests/monitoring/in-trace.ts";
import { recordTraces } from "../../../../tests/monitoring/recorded-traces.ts";
import { runBatch } from "./batch.ts";
import { currentExemplar, startSpan } from "./current-span.ts";

const template = { name: "batch", kind: SpanKind.INTERNAL, attributes: {} };
const step = { name: "step", kind: SpanKind.INTERNAL, attributes: {} };

test("a batch is one span, whatever is done in it, and what is logged in it leads there", async () => {
  const traces = recordTraces();
  const seen = await inTrace(traces, () =>
    runBatch(template, async (span) => {
      startSpan(step)?.end();
      span?.setAttribute("rows", 17);
      return { context: currentContext(), exemplar: currentExemplar() };
    }),
  );
  const spans = await traces.spans();
  expect(drawTree(spans)).toEqual(["request", "  batch"]);
  const batch = spans.find(({ name }) => name === "batch");
  const { traceId, spanId } = batch?.spanContext() ?? {};
  expect(batch?.attributes).toEqual({ rows: 17 });
  expect(seen.context).toMatchObject({ correlationId: "test", span: { traceId, spanId } });
  expect(seen.exemplar).toEqual({ trace_id: traceId });
});

test("a batch that fails is marked, and throws", async () => {
  const traces = recordTraces();
  const failing = inTrace(traces, () => runBatch(template, () => Promise.reject(new RangeError("no"))));
  await expect(failing).rejects.toThrow("no");
  const batch = (await traces.spans()).find(({ name }) => name === "batch");
  expect(batch?.status.code).toBe(SpanStatusCode.ERROR);
  expect(batch?.attributes).toEqual({ "error.type": "RangeError" });
});

test("outside of a trace the work is done all the same", async () => {
  expect(await runBatch(template, async (span) => [span, currentContext()])).toEqual([undefined, undefined]);
});
