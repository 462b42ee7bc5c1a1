// What is known about the work in progress (a request, later a job), carried through every await by
// AsyncLocalStorage and added to each log line.
import { AsyncLocalStorage } from "node:async_hooks";

export interface RequestContext {
  /** Given by the caller if it is sane, else made here; goes on to upstreams and jobs. */
  readonly correlationId: string;
  /** Of this one request; the `x-request-id` of its answer. */
  readonly requestId: string;
  /** The trace that the request is part of, if its caller keeps it: exemplars lead to it. */
  readonly sampledTraceId?: string;
  /** Set once the API key is known. */
  tenantId?: string;
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
