// Spans of what a call does in this process: the waits for its turn, and the steps of the built-in model.
import { currentSpan, errorTypeOf, type Span, type SpanTemplate, startSpan } from "@ectus/monitoring";
import { type Attributes, SpanKind } from "@opentelemetry/api";
import { isClientClosed } from "./call-outcome.ts";
import { providerAttribute } from "./provider-name.ts";

const step = (name: string, attributes: Attributes = {}): SpanTemplate => ({
  name,
  kind: SpanKind.INTERNAL,
  attributes,
});

/** A wait in the queue of a provider. */
export const queueTemplate = (provider: string): SpanTemplate =>
  step("ai.queue", { [providerAttribute]: provider });
/** A wait for one of a built-in model's slots. */
export const slotTemplate = step("model.queue");
/** A call's wait for a model to be loaded, be it the one that caused the load or not. */
export const loadTemplate = step("model.load");
/** From the prompt to the first text of the answer. */
export const promptTemplate = step("model.prompt");
/** From there to the end; of a stream, at the pace of its reader. */
export const generateTemplate = step("model.generate");

/** Waits shorter than this are none. */
const noticeableMs = 1;

/** Records the time until `wait` is over, if it took any, under the span of the work in progress. */
export async function recordWait<T>(template: SpanTemplate, wait: Promise<T>): Promise<T> {
  const parent = currentSpan();
  if (parent === undefined) return wait;
  const startMs = performance.now();
  try {
    return await wait;
  } finally {
    const endMs = performance.now();
    if (endMs - startMs >= noticeableMs) parent.record(template, startMs, endMs);
  }
}

/** Records `work` under the span of the work in progress. */
export async function recordStep<T>(template: SpanTemplate, work: () => Promise<T>): Promise<T> {
  const span = startSpan(template);
  try {
    return await work();
  } catch (error) {
    if (span !== undefined) markFailed(span, error);
    throw error;
  } finally {
    span?.end();
  }
}

export function markFailed(span: Span, error: unknown): void {
  // A client that left is nobody's error.
  if (!isClientClosed(error)) span.fail(errorTypeOf(error));
}
