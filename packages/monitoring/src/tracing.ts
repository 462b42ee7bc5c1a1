// Traces: the spans of a request are recorded by the parts that do its work, wait until it is over, and are exported if
// it was chosen, failed or was slow.
import { type ActiveSpan, type Logger, newHexUuid, parseTraceparent } from "@ectus/core";
import type { Link, SpanContext, TimeInput } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import { ATTR_SERVICE_VERSION } from "@opentelemetry/semantic-conventions";
import type { Instruments } from "./instruments.ts";
import { startExportLoop } from "./tracing/export-loop.ts";
import { schemaUrl } from "./tracing/resource.ts";
import { createSampler } from "./tracing/sampling.ts";
import { Span } from "./tracing/span.ts";
import type { SpanExporter } from "./tracing/span-exporter.ts";
import type { SpanTemplate } from "./tracing/span-template.ts";
import { type SpanSink, TraceBuffer, type TraceStart } from "./tracing/trace-buffer.ts";
import { traceMetrics } from "./tracing/trace-metrics.ts";
import { parseTracestate } from "./tracing/tracestate.ts";
import { WaitingSpans } from "./tracing/waiting-spans.ts";

export interface IncomingTrace {
  /** 32 hex digits, the last 14 of them random. The id of the trace, if no caller has begun one; decides by chance. */
  readonly id: string;
  /** The headers of these names. */
  readonly traceparent: string | string[] | undefined;
  readonly tracestate: string | string[] | undefined;
  /** Whether the caller's decision to keep the trace is believed. Asked only when there is one. */
  readonly isTrusted: () => boolean;
}

export interface TraceBegin {
  /** Now by default. */
  readonly startTime?: TimeInput | undefined;
  /** A span of another process that the root is a child of. Its decision is not believed. */
  readonly parent?: Pick<SpanContext, "traceId" | "spanId"> | undefined;
}

export interface Tracing {
  readonly enabled: boolean;
  /**
   * Begins the root span of a request in this process: a `Span` when tracing is enabled; else where its caller's trace
   * stands, to be passed on, or undefined if there is none.
   */
  beginRequest(template: SpanTemplate, incoming: IncomingTrace): ActiveSpan | undefined;
  /** Begins a trace of its own, for work that no request waits for; undefined when tracing is off. */
  beginTrace(template: SpanTemplate, links?: readonly Link[], begin?: TraceBegin): Span | undefined;
  /** Resolves when what is kept so far was exported, or could not be. */
  flush(): Promise<void>;
  /** Exports what is kept, for as long as a stop may take, and ends. */
  close(): Promise<void>;
}

export interface TracingOptions {
  readonly exporter: SpanExporter;
  /** What the spans say of this process. */
  readonly resource: Resource;
  /** Share of traces that are kept by chance, from 0 to 1. */
  readonly sampleRatio: number;
  readonly instruments: Instruments;
  readonly log: Logger;
}

/** Names what records the spans. */
const scopeName = "ectus";

export function startTracing(options: TracingOptions): Tracing {
  const { resource, instruments } = options;
  const isChosen = createSampler(options.sampleRatio);
  const metrics = traceMetrics(instruments);
  const version = resource.attributes[ATTR_SERVICE_VERSION];
  const loop = startExportLoop({
    exporter: options.exporter,
    resource,
    scope: { name: scopeName, ...(typeof version === "string" ? { version } : {}), schemaUrl },
    metrics,
    log: options.log,
  });
  const waiting = new WaitingSpans();
  const sink: SpanSink = { waiting, export: loop.add, lost: metrics.lost, decided: metrics.decided };
  const hide = metrics.showWaiting(() => ({ recording: waiting.count, export: loop.waiting }));

  function begin(template: SpanTemplate, start: TraceStart, startTime?: TimeInput): Span {
    const nowMs = performance.now();
    const trace = new TraceBuffer(sink, start, nowMs);
    const startMs = startTime === undefined ? nowMs : trace.toPerformanceMs(startTime);
    const root = new Span(trace, undefined, template, startMs, undefined);
    trace.add(root);
    return root;
  }

  return {
    enabled: true,
    beginRequest(template, { id, traceparent, tracestate, isTrusted }) {
      const caller = traceparent === undefined ? undefined : parseTraceparent(traceparent);
      const trusted = caller !== undefined && isTrusted();
      const start = {
        traceId: caller?.traceId ?? id,
        remoteParentId: caller?.parentId,
        // It may hold anything, and goes on to upstreams.
        tracestate: trusted ? parseTracestate(tracestate) : undefined,
        isSampled: trusted ? caller.isSampled : isChosen(id),
      };
      return begin(template, start);
    },
    beginTrace(template, links = [], { startTime, parent } = {}) {
      const id = newHexUuid();
      const start = {
        traceId: parent?.traceId ?? id,
        remoteParentId: parent?.spanId,
        tracestate: undefined,
        isSampled: isChosen(id),
      };
      return begin(template, start, startTime).addLinks(links);
    },
    flush: loop.flush,
    async close() {
      await loop.close();
      hide();
    },
  };
}

/** For `OTEL_SDK_DISABLED=true`: nothing is recorded; what callers say of their traces is passed on. */
export const noTracing: Tracing = {
  enabled: false,
  beginRequest(_template, { traceparent, tracestate, isTrusted }) {
    const caller = traceparent === undefined ? undefined : parseTraceparent(traceparent);
    if (caller === undefined) return undefined;
    const { traceId, parentId, isSampled } = caller;
    return {
      traceId,
      spanId: parentId,
      isKept: false,
      traceparent: `00-${traceId}-${parentId}-${isSampled ? "01" : "00"}`,
      tracestate: isTrusted() ? parseTracestate(tracestate) : undefined,
    };
  },
  beginTrace: () => undefined,
  flush: async () => {},
  close: async () => {},
};
