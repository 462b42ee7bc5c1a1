// The span of the work in progress. Parts of the program record under it and need no access to the tracing for that.
import { currentContext } from "@ectus/core";
import { Span } from "./span.ts";
import type { SpanTemplate } from "./span-template.ts";

/** The span of the work in progress; undefined when nothing is recorded. */
export function currentSpan(): Span | undefined {
  const span = currentContext()?.span;
  return span instanceof Span ? span : undefined;
}

/** Begins a span under that of the work in progress; undefined when nothing is recorded. The caller ends it. */
export function startSpan(template: SpanTemplate, startMs?: number): Span | undefined {
  return currentSpan()?.startChild(template, startMs);
}

/** What leads from a metric's sample to the trace of the work in progress, once it is certain that it is kept. */
export function currentExemplar(): { readonly trace_id: string } | undefined {
  const span = currentContext()?.span;
  return span?.isKept ? { trace_id: span.traceId } : undefined;
}
