// OpenTelemetry's public API over our recorder and request context: instrumentation of others (of a library, or of an
// operator with `--import`) finds the request's span, and what it records is part of the request's trace.
import { AsyncLocalStorage } from "node:async_hooks";
import { currentContext, parseTraceparent, type RequestContext, runInContext } from "@ectus/core";
import {
  type Context,
  type ContextManager,
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  type Span as OpenTelemetrySpan,
  propagation,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  type SpanOptions,
  type TextMapPropagator,
  TraceFlags,
  type Tracer,
  type TracerProvider,
  trace,
} from "@opentelemetry/api";
import type { Tracing } from "../tracing.ts";
import { currentSpan } from "./current-span.ts";
import { Span } from "./span.ts";
import { toName } from "./span-limits.ts";
import type { SpanTemplate } from "./span-template.ts";
import { isSuppressed } from "./suppressed.ts";
import { createTraceState, parseTracestate } from "./tracestate.ts";

/** Makes `tracing` what OpenTelemetry's API of this process stands for, unless something else is; returns how to end it. */
export function registerOpenTelemetryApi(tracing: Tracing): () => void {
  if (!tracing.enabled) return () => {};
  const registered: (() => void)[] = [];
  if (context.setGlobalContextManager(createContextManager())) registered.push(() => context.disable());
  if (trace.setGlobalTracerProvider(createTracerProvider(tracing))) registered.push(() => trace.disable());
  if (propagation.setGlobalPropagator(propagator)) registered.push(() => propagation.disable());
  return () => {
    for (const unregister of registered.splice(0)) unregister();
  };
}

/** What a caller of the API has made current, and the request context that it is over. */
interface Entered {
  readonly context: Context;
  readonly over: RequestContext | undefined;
}

function createContextManager(): ContextManager {
  const storage = new AsyncLocalStorage<Entered>();
  const manager: ContextManager = {
    active() {
      const entered = storage.getStore();
      const span = currentSpan();
      // A part of this program has begun another span since.
      const isOlder = entered === undefined || entered.over !== currentContext();
      const base = entered?.context ?? ROOT_CONTEXT;
      return isOlder && span !== undefined ? trace.setSpan(base, span) : base;
    },
    with(entered, work, self, ...args) {
      const request = currentContext();
      const span = trace.getSpan(entered);
      const run = (): ReturnType<typeof work> =>
        storage.run({ context: entered, over: currentContext() }, () => work.apply(self as never, args));
      // Parts of this program record under it, and their log lines have its id.
      if (request === undefined || !(span instanceof Span) || span === request.span) return run();
      return runInContext({ ...request, span }, run);
    },
    bind(entered, target) {
      if (typeof target !== "function") return target;
      const bound = function (this: unknown, ...args: unknown[]): unknown {
        return manager.with(entered, target as never, this as never, ...(args as never));
      };
      return bound as typeof target;
    },
    enable: () => manager,
    disable: () => manager,
  };
  return manager;
}

function createTracerProvider(tracing: Tracing): TracerProvider {
  return {
    getTracer: (name, version, options) =>
      createTracer(tracing, {
        name,
        ...(version === undefined ? {} : { version }),
        ...(options?.schemaUrl === undefined ? {} : { schemaUrl: options.schemaUrl }),
      }),
  };
}

function createTracer(tracing: Tracing, scope: NonNullable<SpanTemplate["scope"]>): Tracer {
  function startSpan(name: string, options: SpanOptions = {}, within = context.active()): OpenTelemetrySpan {
    const parent = options.root === true ? undefined : trace.getSpan(within);
    if (within.getValue(isSuppressed) === true) return notRecorded(parent);
    const template: SpanTemplate = {
      name: toName(name),
      kind: kinds.has(options.kind as SpanKind) ? (options.kind as SpanKind) : SpanKind.INTERNAL,
      attributes: {},
      scope,
    };
    const span = begin(template, options, parent);
    if (span === undefined) return notRecorded(parent);
    if (options.attributes !== undefined) span.setAttributes(options.attributes);
    return span;
  }

  function begin(
    template: SpanTemplate,
    options: SpanOptions,
    parent: OpenTelemetrySpan | undefined,
  ): Span | undefined {
    const links = Array.isArray(options.links) ? options.links : [];
    if (parent instanceof Span) {
      return parent.startChild(template, parent.trace.toPerformanceMs(options.startTime))?.addLinks(links);
    }
    return tracing.beginTrace(template, links, {
      startTime: options.startTime,
      parent: parent === undefined ? undefined : validContext(parent),
    });
  }

  return {
    startSpan,
    startActiveSpan(name: string, ...rest: readonly unknown[]): never {
      const work = rest.at(-1) as (span: OpenTelemetrySpan) => never;
      const [options, given] = rest.slice(0, -1) as [SpanOptions?, Context?];
      const within = given ?? context.active();
      const span = startSpan(name, options, within);
      return context.with(trace.setSpan(within, span), work, undefined, span);
    },
  } as Tracer;
}

const kinds = new Set([
  SpanKind.INTERNAL,
  SpanKind.SERVER,
  SpanKind.CLIENT,
  SpanKind.PRODUCER,
  SpanKind.CONSUMER,
]);

/** Undefined if it is not valid. The API takes ids in capitals, which a `traceparent` does not have. */
function validContext(span: OpenTelemetrySpan): SpanContext | undefined {
  const found = span.spanContext();
  if (!isSpanContextValid(found)) return undefined;
  return { ...found, traceId: found.traceId.toLowerCase(), spanId: found.spanId.toLowerCase() };
}

/** Passes on where its parent stands, and nothing else. */
function notRecorded(parent: OpenTelemetrySpan | undefined): OpenTelemetrySpan {
  return trace.wrapSpanContext(parent?.spanContext() ?? INVALID_SPAN_CONTEXT);
}

/** W3C trace context. Baggage is not passed on: it may hold anything. */
const propagator: TextMapPropagator = {
  inject(within, carrier, setter) {
    const span = trace.getSpan(within);
    if (span === undefined || within.getValue(isSuppressed) === true) return;
    const valid = validContext(span);
    if (valid === undefined) return;
    const { traceId, spanId, traceFlags, traceState } = valid;
    const flags = traceFlags.toString(16).padStart(2, "0");
    setter.set(
      carrier,
      "traceparent",
      span instanceof Span ? span.traceparent : `00-${traceId}-${spanId}-${flags}`,
    );
    const tracestate = traceState?.serialize();
    if (tracestate) setter.set(carrier, "tracestate", tracestate);
  },
  extract(within, carrier, getter) {
    const caller = parseTraceparent(getter.get(carrier, "traceparent"));
    if (caller === undefined) return within;
    const tracestate = parseTracestate(getter.get(carrier, "tracestate"));
    return trace.setSpanContext(within, {
      traceId: caller.traceId,
      spanId: caller.parentId,
      traceFlags: caller.isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
      isRemote: true,
      ...(tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }),
    });
  },
  fields: () => ["traceparent", "tracestate"],
};
