// A span in the form that OpenTelemetry's serializers read. Made when it is exported, not before.
import {
  type Attributes,
  type HrTime,
  type SpanContext,
  SpanStatusCode,
  TraceFlags,
} from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { Span } from "./span.ts";
import { mostAttributes } from "./span-limits.ts";
import { createTraceState } from "./tracestate.ts";

export type InstrumentationScope = ReadableSpan["instrumentationScope"];

/** @param span one that is over */
export function toReadableSpan(span: Span, resource: Resource, scope: InstrumentationScope): ReadableSpan {
  const { trace, template, details, parent, startMs } = span;
  // A child may begin before its parent by the times that its caller gave, but nothing ends before it began.
  const endMs = Math.max(span.endMs ?? startMs, startMs);
  const startTime = toHrTime(trace.originMs + startMs);
  const endTime = toHrTime(trace.originMs + endMs);
  const context = contextOf(span, span.spanId);
  const parentId = parent?.spanId ?? trace.remoteParentId;
  const { attributes, dropped } = attributesOf(span);
  return {
    name: span.name,
    kind: template.kind,
    spanContext: () => context,
    ...(parentId === undefined
      ? {}
      : { parentSpanContext: { ...contextOf(span, parentId), isRemote: parent === undefined } }),
    startTime,
    endTime,
    status: span.status ?? { code: SpanStatusCode.UNSET },
    attributes,
    links: (details?.links ?? []).map(({ context, attributes, droppedAttributes }) => ({
      context,
      attributes,
      droppedAttributesCount: droppedAttributes,
    })),
    events: (details?.events ?? []).map(({ name, atMs, attributes, droppedAttributes }) => ({
      name,
      time: toHrTime(trace.originMs + atMs),
      attributes,
      droppedAttributesCount: droppedAttributes,
    })),
    duration: difference(startTime, endTime),
    ended: true,
    resource,
    instrumentationScope: template.scope ?? scope,
    droppedAttributesCount: dropped,
    droppedEventsCount: details?.droppedEvents ?? 0,
    droppedLinksCount: details?.droppedLinks ?? 0,
  };
}

/** It is exported, so it is kept, whatever chance had decided. */
function contextOf({ traceId, tracestate }: Span, spanId: string): SpanContext {
  return {
    traceId,
    spanId,
    traceFlags: TraceFlags.SAMPLED,
    ...(tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }),
  };
}

/** What the span has itself goes before what its template says. */
function attributesOf({ template, attributes, details }: Span): {
  readonly attributes: Attributes;
  readonly dropped: number;
} {
  const dropped = details?.droppedAttributes ?? 0;
  if (attributes === undefined) return { attributes: template.attributes, dropped };
  const all = { ...template.attributes, ...attributes };
  const keys = Object.keys(all);
  for (const key of keys.slice(mostAttributes)) delete all[key];
  return { attributes: all, dropped: dropped + Math.max(0, keys.length - mostAttributes) };
}

/** Nanoseconds since 1970 have 64 bits. */
const latestMs = 1.8e13;

function toHrTime(givenMs: number): HrTime {
  const epochMs = Math.min(Math.max(givenMs, 0), latestMs);
  const seconds = Math.floor(epochMs / 1_000);
  const nanoseconds = Math.round((epochMs - seconds * 1_000) * 1e6);
  return nanoseconds < 1e9 ? [seconds, nanoseconds] : [seconds + 1, nanoseconds - 1e9];
}

function difference([seconds, nanoseconds]: HrTime, [endSeconds, endNanoseconds]: HrTime): HrTime {
  const borrowed = endNanoseconds < nanoseconds ? 1 : 0;
  return [endSeconds - seconds - borrowed, endNanoseconds - nanoseconds + borrowed * 1e9];
}
