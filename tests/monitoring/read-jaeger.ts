// Reads traces back from a Jaeger by its query API, version 3, whose answers are OTLP.
import { until } from "../postgres/until.ts";
import { type OtlpAttribute, readAttributes } from "./otlp-attributes.ts";
import type { Jaeger } from "./start-jaeger.ts";

type Attributes = Readonly<Record<string, unknown>>;

export interface JaegerSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Undefined for the root, and set for a root whose caller is elsewhere. */
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly kind: "INTERNAL" | "SERVER" | "CLIENT" | "PRODUCER" | "CONSUMER";
  readonly status: "UNSET" | "OK" | "ERROR";
  readonly statusMessage: string | undefined;
  /** Milliseconds since 1970, with a fraction. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly attributes: Attributes;
  readonly events: readonly {
    readonly name: string;
    readonly timeMs: number;
    readonly attributes: Attributes;
  }[];
  readonly links: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly attributes: Attributes;
  }[];
  /** Attributes of what made it: service, version, instance. */
  readonly resource: Attributes;
}

export interface JaegerTrace {
  readonly traceId: string;
  /** In the order of their beginning. */
  readonly spans: readonly JaegerSpan[];
  /** Those whose parent is not among the spans: one, if the trace is whole. */
  readonly roots: readonly JaegerSpan[];
  childrenOf(span: JaegerSpan): readonly JaegerSpan[];
  /** Names, each below its parent and two spaces further in. */
  outline(): readonly string[];
}

export interface JaegerReader {
  /** Undefined when it is not there. */
  trace(traceId: string): Promise<JaegerTrace | undefined>;
  /** Resolves when the trace is there and, if it is given, `isComplete` accepts it. */
  waitForTrace(traceId: string, isComplete?: (trace: JaegerTrace) => boolean): Promise<JaegerTrace>;
  /** Traces with a span of the service that began in the last hour. */
  traces(service: string): Promise<readonly JaegerTrace[]>;
  /** All that it has of the trace as it answers, for a search in the text. */
  text(traceId: string): Promise<string>;
}

const waitMs = 15_000;
// It refuses to look for as many as it keeps.
const searchedTraces = 49_999;
const hourMs = 3_600_000;

export function readJaeger({ url }: Pick<Jaeger, "url">): JaegerReader {
  const ask = (path: string, parameters: Readonly<Record<string, string>> = {}): Promise<Response> =>
    fetch(`${url}/api/v3/${path}?${new URLSearchParams(parameters)}`, {
      signal: AbortSignal.timeout(waitMs),
    });
  // Times as they were sent: nothing is moved because a parent seems to begin later.
  const askTrace = (traceId: string): Promise<Response> => ask(`traces/${traceId}`, { raw_traces: "true" });
  const trace = async (traceId: string): Promise<JaegerTrace | undefined> =>
    (await readTraces(await askTrace(traceId)))[0];
  return {
    trace,
    async waitForTrace(traceId, isComplete = () => true) {
      let found: JaegerTrace | undefined;
      const isThere = async (): Promise<boolean> => {
        found = await trace(traceId);
        return found !== undefined && isComplete(found);
      };
      await until(isThere, waitMs, 20).catch(() => {
        const state = found === undefined ? "is not there" : `is not complete: ${found.outline().join("; ")}`;
        throw new Error(`trace ${traceId} ${state}`);
      });
      return found as JaegerTrace;
    },
    async traces(service) {
      const now = Date.now();
      const query = {
        "query.service_name": service,
        "query.start_time_min": new Date(now - hourMs).toISOString(),
        "query.start_time_max": new Date(now + hourMs).toISOString(),
        "query.num_traces": String(searchedTraces),
        "query.raw_traces": "true",
      };
      return readTraces(await ask("traces", query));
    },
    text: async (traceId) => (await askTrace(traceId)).text(),
  };
}

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind?: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: readonly OtlpAttribute[];
  readonly events?: readonly {
    readonly name: string;
    readonly timeUnixNano: string;
    readonly attributes?: readonly OtlpAttribute[];
  }[];
  readonly links?: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly attributes?: readonly OtlpAttribute[];
  }[];
  readonly status?: { readonly code?: number; readonly message?: string };
}

interface OtlpTraces {
  readonly result: {
    readonly resourceSpans?: readonly {
      readonly resource: { readonly attributes?: readonly OtlpAttribute[] };
      readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
    }[];
  };
}

// By the numbers of OTLP, https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
const kinds = ["INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"] as const;
const statuses = ["UNSET", "OK", "ERROR"] as const;

async function readTraces(answer: Response): Promise<readonly JaegerTrace[]> {
  const text = await answer.text();
  if (answer.status === 404) return [];
  if (!answer.ok) throw new Error(`Jaeger answers with ${answer.status}: ${text}`);
  const { result } = JSON.parse(text) as OtlpTraces;
  const spans: JaegerSpan[] = [];
  for (const { resource, scopeSpans } of result.resourceSpans ?? []) {
    const attributes = readAttributes(resource.attributes);
    for (const scope of scopeSpans) for (const span of scope.spans) spans.push(readSpan(span, attributes));
  }
  return [...Map.groupBy(spans, ({ traceId }) => traceId)].map(([traceId, of]) => traceOf(traceId, of));
}

function readSpan(span: OtlpSpan, resource: Attributes): JaegerSpan {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId === "" ? undefined : span.parentSpanId,
    name: span.name,
    kind: kinds[span.kind ?? 0] ?? "INTERNAL",
    status: statuses[span.status?.code ?? 0] ?? "UNSET",
    statusMessage: span.status?.message,
    startMs: milliseconds(span.startTimeUnixNano),
    durationMs: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6,
    attributes: readAttributes(span.attributes),
    events: (span.events ?? []).map(({ name, timeUnixNano, attributes }) => ({
      name,
      timeMs: milliseconds(timeUnixNano),
      attributes: readAttributes(attributes),
    })),
    links: (span.links ?? []).map(({ traceId, spanId, attributes }) => ({
      traceId,
      spanId,
      attributes: readAttributes(attributes),
    })),
    resource,
  };
}

function traceOf(traceId: string, of: readonly JaegerSpan[]): JaegerTrace {
  const spans = of.toSorted((one, other) => one.startMs - other.startMs);
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const roots = spans.filter(({ parentSpanId }) => parentSpanId === undefined || !ids.has(parentSpanId));
  const childrenOf = (parent: JaegerSpan): readonly JaegerSpan[] =>
    spans.filter(({ parentSpanId }) => parentSpanId === parent.spanId);
  const outline = (span: JaegerSpan, indent: string): readonly string[] => [
    indent + span.name,
    ...childrenOf(span).flatMap((child) => outline(child, `${indent}  `)),
  ];
  return { traceId, spans, roots, childrenOf, outline: () => roots.flatMap((root) => outline(root, "")) };
}

function milliseconds(nanoseconds: string): number {
  // To the microsecond: more digits do not fit into a number.
  return Number(BigInt(nanoseconds) / 1_000n) / 1_000;
}
