// A run of a job as a trace of its own, linked to the request that asked for it, whose ids its log lines have.
import { newUuid, type RequestContext, runInContext, type Traceparent } from "@ectus/core";
import { errorTypeOf, type Span, type SpanTemplate, type Tracing } from "@ectus/monitoring";
import { type Link, SpanKind, TraceFlags } from "@opentelemetry/api";
import {
  ATTR_MESSAGING_DESTINATION_NAME,
  ATTR_MESSAGING_MESSAGE_ID,
  ATTR_MESSAGING_OPERATION_NAME,
  ATTR_MESSAGING_OPERATION_TYPE,
  ATTR_MESSAGING_SYSTEM_NAME,
  MESSAGING_OPERATION_TYPE_VALUE_PROCESS,
} from "@opentelemetry/semantic-conventions/incubating";
import { type JobOrigin, readJobData } from "./job-origin.ts";

export interface JobRun {
  readonly tracing: Tracing;
  readonly template: SpanTemplate;
  readonly id: string;
  /** Data that tell of the request that asked for it. */
  readonly origin: unknown;
  readonly retryCount: number;
  /** Whose it is; of its log lines. */
  readonly tenantId?: string;
}

/** Runs `work` as a trace of its own; one that throws is kept. */
export async function runJob<T>(run: JobRun, work: () => Promise<T>): Promise<T> {
  const origin = readJobData(run.origin);
  const span = beginRun(run, origin);
  const context = { ...contextOf(origin, span), tenantId: run.tenantId };
  return runInContext(context, async () => {
    try {
      return await work();
    } catch (error) {
      span?.keep("error");
      span?.fail(errorTypeOf(error));
      throw error;
    } finally {
      span?.end();
    }
  });
}

/** @param system that queued it */
export function jobTemplate(name: string, system: "pg-boss" | "ectus" = "pg-boss"): SpanTemplate {
  return {
    name: `job ${name}`,
    kind: SpanKind.CONSUMER,
    attributes: {
      [ATTR_MESSAGING_SYSTEM_NAME]: system,
      [ATTR_MESSAGING_OPERATION_NAME]: "process",
      [ATTR_MESSAGING_OPERATION_TYPE]: MESSAGING_OPERATION_TYPE_VALUE_PROCESS,
      [ATTR_MESSAGING_DESTINATION_NAME]: name,
    },
  };
}

function beginRun(
  { tracing, template, id, retryCount }: JobRun,
  origin: JobOrigin | undefined,
): Span | undefined {
  const asked = origin?.trace;
  const span = tracing.beginTrace(template, asked === undefined ? [] : [linkTo(asked)]);
  // Who looks at the request's trace looks for what came of it.
  if (asked?.isSampled) span?.keep("sampled");
  return span?.setAttribute(ATTR_MESSAGING_MESSAGE_ID, id).setAttribute("ectus.job.retry_count", retryCount);
}

function linkTo({ traceId, parentId, isSampled }: Traceparent): Link {
  const traceFlags = isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  return { context: { traceId, spanId: parentId, traceFlags, isRemote: true } };
}

/** Of the request that asked for the run; one that is due by its schedule has an id of its own, that of its trace. */
function contextOf(origin: JobOrigin | undefined, span: Span | undefined): RequestContext {
  const id = `job_${span?.traceId ?? newUuid().replaceAll("-", "")}`;
  const { correlationId, requestId } = origin ?? { correlationId: id, requestId: id };
  return { correlationId, requestId, span };
}
