// Work in the context of a request that is traced, for tests of the parts that record spans.
import { runInContext } from "@ectus/core";
import { SpanKind } from "@opentelemetry/api";
import type { RecordedTraces } from "./recorded-traces.ts";

export type RecordedSpan = Awaited<ReturnType<RecordedTraces["spans"]>>[number];

const template = { name: "request", kind: SpanKind.SERVER, attributes: {} };

/** Runs work as a request with this id, whose span is called `request` and ends with it. */
export async function inTrace<T>(
  { tracing }: RecordedTraces,
  work: () => Promise<T>,
  id = "test",
): Promise<T> {
  const span = tracing.beginTrace(template);
  try {
    return await runInContext({ correlationId: id, requestId: id, span }, work);
  } finally {
    span?.end();
  }
}

/** The names of spans, each after two spaces more than its parent's, in the order in which they began. */
export function drawTree(spans: readonly RecordedSpan[]): readonly string[] {
  const ids = new Set(spans.map((span) => span.spanContext().spanId));
  const start = ({ startTime: [seconds, nanoseconds] }: RecordedSpan): number => seconds + nanoseconds / 1e9;
  const sorted = spans.toSorted((a, b) => start(a) - start(b));
  const draw = (span: RecordedSpan, indent: string): string[] => [
    `${indent}${span.name}`,
    ...sorted
      .filter(({ parentSpanContext }) => parentSpanContext?.spanId === span.spanContext().spanId)
      .flatMap((child) => draw(child, `${indent}  `)),
  ];
  return sorted
    .filter(({ parentSpanContext }) => parentSpanContext === undefined || !ids.has(parentSpanContext.spanId))
    .flatMap((root) => draw(root, ""));
}
