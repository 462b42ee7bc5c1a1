// One span for a batch of a long run, as over all tenants: a span for each step of it would be more than a trace holds.
import { currentContext, runInContext } from "@ectus/core";
import { startSpan } from "./current-span.ts";
import { errorTypeOf } from "./error-type.ts";
import type { Span } from "./span.ts";
import type { SpanTemplate } from "./span-template.ts";

/**
 * Runs `work` as one span under that of the work in progress. Nothing within is recorded; its log lines and exemplars
 * lead to the batch.
 *
 * @param work gets the span, to say on it what it did; undefined when nothing is recorded
 */
export async function runBatch<T>(
  template: SpanTemplate,
  work: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  const context = currentContext();
  const span = startSpan(template);
  if (context === undefined || span === undefined) return work(undefined);
  // Known by its ids, and no span that others are recorded under.
  const { traceId, spanId, traceparent, tracestate } = span;
  const known = {
    traceId,
    spanId,
    traceparent,
    tracestate,
    get isKept() {
      return span.isKept;
    },
  };
  try {
    return await runInContext({ ...context, span: known }, () => work(span));
  } catch (error) {
    span.fail(errorTypeOf(error));
    throw error;
  } finally {
    span.end();
  }
}
