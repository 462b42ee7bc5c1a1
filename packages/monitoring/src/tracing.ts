// Traces: the spans of a request are recorded by the parts that do its work, wait until it is over, and are exported if
// it was chosen, failed or was slow.
import { type ActiveSpan, type Logger, newUuid, parseTraceparent } from "@ectus/core";
import type { Link } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import type { SpanExporter } from "@opentelemetry/sdk-trace";
import type { Instruments } from "./instruments.ts";
import { createSampler } from "./tracing/sampling.ts";
import { Span } from "./tracing/span.ts";
import type { SpanTemplate } from "./tracing/span-template.ts";
import { type SpanSink, TraceBuffer } from "./tracing/trace-buffer.ts";

export interface IncomingTrace {
  /** 32 hex digits, the last 14 of them random. The id of the trace, if no caller has begun one; decides by chance. */
  readonly id: string;
  /** The headers of these names. */
  readonly traceparent: string | string[] | undefined;
  readonly tracestate: string | string[] | undefined;
  /** Whether the caller's decision to keep the trace is believed. Asked only when there is one. */
  readonly isTrusted: () => boolean;
}

export interface Tracing {
  readonly enabled: boolean;
  /**
   * Begins the root span of a request in this process: a `Span` when tracing is enabled; else where its caller's trace
   * stands, to be passed on, or undefined if there is none.
   */
  beginRequest(template: SpanTemplate, incoming: IncomingTrace): ActiveSpan | undefined;
  /** Begins a trace of its own, for work that no request waits for; undefined when tracing is off. */
  beginTrace(template: SpanTemplate, links?: readonly Link[]): Span | undefined;
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

export function startTracing(options: TracingOptions): Tracing {
  const isChosen = createSampler(options.sampleRatio);
  const sink: SpanSink = { admit: () => true, release() {}, export() {}, lost() {} };

  function begin(template: SpanTemplate, trace: TraceBuffer): Span {
    const root = new Span(trace, undefined, template, performance.now());
    trace.add(root);
    return root;
  }

  return {
    enabled: true,
    beginRequest(template, { id, traceparent, tracestate, isTrusted }) {
      const caller = traceparent === undefined ? undefined : parseTraceparent(traceparent);
      const trusted = caller !== undefined && isTrusted();
      return begin(
        template,
        new TraceBuffer(sink, {
          traceId: caller?.traceId ?? id,
          remoteParentId: caller?.parentId,
          // It may hold anything, and goes on to upstreams.
          tracestate: trusted && typeof tracestate === "string" ? tracestate : undefined,
          isSampled: trusted ? caller.isSampled : isChosen(id),
        }),
      );
    },
    beginTrace(template, links = []) {
      const id = newUuid().replaceAll("-", "");
      const root = begin(
        template,
        new TraceBuffer(sink, {
          traceId: id,
          remoteParentId: undefined,
          tracestate: undefined,
          isSampled: isChosen(id),
        }),
      );
      return links.length === 0 ? root : root.addLinks([...links]);
    },
    flush: async () => {},
    close: async () => {},
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
      tracestate: typeof tracestate === "string" && isTrusted() ? tracestate : undefined,
    };
  },
  beginTrace: () => undefined,
  flush: async () => {},
  close: async () => {},
};
