// One span for a batch of a long run, as over all tenants: a span for each step of it would be more than a trace holds.
import { currentContext, runInContext } from "@ectus/core";
import { currentSpan } from "./current-span.ts";
import { errorTypeOf } from "./error-type.ts";
import { Span } from "./span.ts";
import type { SpanTemplate } from "./span-template.ts";

/**
 * Runs `work` as one span under that of the work in progress. Nothing within is recorded; its log lines and exemplars
 * lead to the batch, and what is slow or fails in it has the trace kept.
 *
 * @param work gets the span, to say on it what it did; undefined when nothing is recorded
 */
export async function runBatch<T>(
  template: SpanTemplate,
  work: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  const context = currentContext();
  const parent = currentSpan();
  if (context === undefined || parent === undefined) return work(undefined);
  const span = new BatchSpan(parent.trace, parent, template, performance.now(), undefined);
  parent.trace.add(span);
  try {
    return await runInContext({ ...context, span }, () => work(span));
  } catch (error) {
    span.fail(errorTypeOf(error));
    throw error;
  } finally {
    span.end();
  }
}

class BatchSpan extends Span {
  override startChild(): undefined {}

  override record(): undefined {}
}
