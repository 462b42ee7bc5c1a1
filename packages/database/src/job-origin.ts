// Which request asked for a job, as the job's data keep it: the run has its ids on its log lines, and its trace is
// linked to the request's.
import { isSaneId, parseTraceparent, type RequestContext, type Traceparent } from "@ectus/core";

export interface JobOrigin {
  readonly correlationId: string;
  readonly requestId: string;
  /** The request's span; undefined when it was in no trace. */
  readonly trace: Traceparent | undefined;
}

/** What a job's data keep of the request in whose context it is asked for. */
export function jobData({ correlationId, requestId, span }: RequestContext): object {
  return { correlationId, requestId, traceparent: span?.traceparent };
}

/** The origin that a job's data tell of; undefined if they tell of none. */
export function readJobData(data: unknown): JobOrigin | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  const { correlationId, requestId, traceparent } = data as Readonly<Record<string, unknown>>;
  // Anybody who may write to the database could have put others there.
  if (!isSaneId(correlationId) || !isSaneId(requestId)) return undefined;
  const trace = typeof traceparent === "string" ? parseTraceparent(traceparent) : undefined;
  return { correlationId, requestId, trace };
}
