// The context of the work in progress for programs that it starts, in variables of their environment.
// https://opentelemetry.io/docs/specs/otel/context/env-carriers/
import { currentContext, type RequestContext } from "./request-context.ts";
import { isSaneId } from "./sane-id.ts";
import { parseTraceparent } from "./traceparent.ts";
import { newUuid } from "./uuid.ts";

/** Variables for the environment of a program that belongs to the work in progress; none outside of any. */
export function contextEnvironment(): Record<string, string> {
  const context = currentContext();
  if (context === undefined) return {};
  const { correlationId, requestId, span } = context;
  return {
    ECTUS_CORRELATION_ID: correlationId,
    ECTUS_REQUEST_ID: requestId,
    ...(span === undefined ? {} : { TRACEPARENT: span.traceparent }),
    ...(span?.tracestate === undefined ? {} : { TRACESTATE: span.tracestate }),
  };
}

const requestIdPattern = /^req_[\da-f]{32}$/;
const tracestatePattern = /^[\x20-\x7e]{1,512}$/;

/** The context that contextEnvironment has put there, as far as it is sane; undefined if there is none. */
export function contextFromEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
): RequestContext | undefined {
  const { ECTUS_CORRELATION_ID = "", ECTUS_REQUEST_ID = "", TRACEPARENT, TRACESTATE = "" } = environment;
  const parent = parseTraceparent(TRACEPARENT);
  const givenId = isSaneId(ECTUS_CORRELATION_ID) ? ECTUS_CORRELATION_ID : undefined;
  const givenRequestId = requestIdPattern.test(ECTUS_REQUEST_ID) ? ECTUS_REQUEST_ID : undefined;
  if (parent === undefined && givenId === undefined && givenRequestId === undefined) return undefined;
  const requestId = givenRequestId ?? `req_${newUuid().replaceAll("-", "")}`;
  return {
    correlationId: givenId ?? requestId,
    requestId,
    span:
      parent === undefined
        ? undefined
        : {
            traceId: parent.traceId,
            spanId: parent.parentId,
            // Whoever began it decides.
            isKept: false,
            traceparent: TRACEPARENT as string,
            tracestate: tracestatePattern.test(TRACESTATE) ? TRACESTATE : undefined,
          },
  };
}
