// What is known about the work in progress (a request or a job), carried through every await by AsyncLocalStorage and
// added to each log line.
import { AsyncLocalStorage } from "node:async_hooks";

/** Where the work stands in a trace: https://www.w3.org/TR/trace-context/ */
export interface ActiveSpan {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** Whether its trace is certain to be kept: only then may an exemplar lead to it. */
  readonly isKept: boolean;
  /** The header of this name for a request that the work sends. */
  readonly traceparent: string;
  /** What goes with it, from a caller that is trusted. */
  readonly tracestate: string | undefined;
}

export interface RequestContext {
  /** Given by the caller if it is sane, else made here; goes on to upstreams and jobs. */
  readonly correlationId: string;
  /** Of this one request; the `x-request-id` of its answer. */
  readonly requestId: string;
  /** What the work is recorded as; undefined when it is in no trace. */
  readonly span?: ActiveSpan | undefined;
  /** Set once the API key is known. */
  tenantId?: string | undefined;
}

const storage = new AsyncLocalStorage<RequestContext>();

/** Runs `work` with `context` as the current one. */
export function runInContext<T>(context: RequestContext, work: () => T): T {
  return storage.run(context, work);
}

/** Makes `context` the current one for the rest of this asynchronous execution. */
export function enterContext(context: RequestContext): void {
  storage.enterWith(context);
}

/** The current context, if there is one. */
export function currentContext(): RequestContext | undefined {
  return storage.getStore();
}
