// Instrumentation that knows nothing but OpenTelemetry's public API, beside our own spans.
import { currentContext, newUuid, type RequestContext, runInContext } from "@ectus/core";
import {
  type Attributes,
  context,
  createContextKey,
  defaultTextMapGetter,
  defaultTextMapSetter,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  type SpanOptions,
  type SpanStatusCode,
  type TimeInput,
  TraceFlags,
  trace,
} from "@opentelemetry/api";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type RecordedTraces, recordTraces } from "../../../../tests/monitoring/recorded-traces.ts";
import { noTracing } from "../tracing.ts";
import { currentSpan, startSpan } from "./current-span.ts";
import { registerOpenTelemetryApi } from "./opentelemetry-api.ts";
import { createOtlpExporter } from "./otlp-exporter.ts";
import { Span } from "./span.ts";
import { isSuppressed } from "./suppressed.ts";

const server = { name: "GET /x", kind: SpanKind.SERVER, attributes: {} };
const ours = { name: "ours", kind: SpanKind.INTERNAL, attributes: {} };
const caller = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7" };
const traceparent = `00-${caller.traceId}-${caller.spanId}-01`;

let traces: RecordedTraces;
let unregister: () => void;
beforeEach(() => {
  traces = recordTraces();
  unregister = registerOpenTelemetryApi(traces.tracing);
});
afterEach(async () => {
  unregister();
  await traces.tracing.close();
});

const tracer = () => trace.getTracer("of others", "4.5.6");

/** Runs `work` as a request is; its trace is exported after that. */
async function inRequest<T>(work: (root: Span) => T): Promise<Awaited<T>> {
  const id = newUuid().replaceAll("-", "");
  const root = traces.tracing.beginRequest(server, {
    id,
    traceparent,
    tracestate: "a=1",
    isTrusted: () => true,
  }) as Span;
  const result = await runInContext({ correlationId: id, requestId: `req_${id}`, span: root }, () =>
    work(root),
  );
  root.end();
  return result;
}

/** Names of spans with that of their parent. */
async function tree(): Promise<readonly string[]> {
  const spans = await traces.spans();
  const names = new Map(spans.map((span) => [span.spanContext().spanId, span.name]));
  return spans.map(
    ({ name, parentSpanContext: parent }) => `${names.get(parent?.spanId ?? "") ?? "-"} > ${name}`,
  );
}

describe("in a request", () => {
  test("the active span is the request's", async () => {
    await inRequest((root) => {
      expect(trace.getActiveSpan()).toBe(root);
      expect(root.spanContext()).toMatchObject({ traceId: caller.traceId, traceFlags: TraceFlags.SAMPLED });
      expect(root.spanContext().traceState?.get("a")).toBe("1");
    });
    expect(trace.getActiveSpan()).toBeUndefined();
  });

  test("spans of both kinds nest, across awaits, and log lines have the innermost", async () => {
    await inRequest(async () => {
      await tracer().startActiveSpan("theirs", { kind: SpanKind.CLIENT }, async (span) => {
        await Promise.resolve();
        expect(trace.getActiveSpan()).toBe(span);
        expect(currentSpan()).toBe(span);
        const inner = startSpan(ours) as Span;
        await runInContext({ ...(currentContext() as RequestContext), span: inner }, async () => {
          await Promise.resolve();
          expect(trace.getActiveSpan()).toBe(inner);
          tracer()
            .startSpan("innermost", { attributes: { a: 1 } })
            .end();
        });
        inner.end();
        span.end();
      });
    });
    expect(await tree()).toEqual(["- > GET /x", "GET /x > theirs", "theirs > ours", "ours > innermost"]);
    const spans = await traces.spans();
    expect(spans[1]).toMatchObject({
      kind: SpanKind.CLIENT,
      instrumentationScope: { name: "of others", version: "4.5.6" },
    });
    expect(spans[3]?.attributes).toEqual({ a: 1 });
  });

  test("times and links are taken, and a root begins a trace of its own", async () => {
    const startTime = Date.now() - 60_000;
    await inRequest((root) => {
      tracer()
        .startSpan("timed", { startTime, links: [{ context: root.spanContext() }] })
        .end(startTime + 5);
      tracer().startSpan("apart", { root: true }).end();
    });
    const [apart, , timed] = await traces.spans();
    expect(apart?.name).toBe("apart");
    expect(apart?.spanContext().traceId).not.toBe(caller.traceId);
    expect(timed).toMatchObject({ name: "timed", links: [{ context: { traceId: caller.traceId } }] });
    expect(timed?.duration[1]).toBeCloseTo(5e6, -4);
    expect((timed?.startTime[0] as number) * 1_000).toBeCloseTo(startTime, -4);
  });

  test("values of a context are seen, with the span that is current", async () => {
    const key = createContextKey("a key");
    await inRequest((root) => {
      context.with(context.active().setValue(key, 1), () => {
        expect(context.active().getValue(key)).toBe(1);
        const inner = startSpan(ours) as Span;
        runInContext({ ...(currentContext() as RequestContext), span: inner }, () => {
          expect(context.active().getValue(key)).toBe(1);
          expect(trace.getActiveSpan()).toBe(inner);
        });
        expect(trace.getActiveSpan()).toBe(root);
        inner.end();
      });
      context.with(ROOT_CONTEXT, () => expect(trace.getActiveSpan()).toBeUndefined());
    });
  });

  test("a function is bound to a context, with its own this and arguments", async () => {
    const bound = await inRequest((root) => {
      const self = {
        name: "self",
        tell(this: { name: string }, text: string) {
          return [this.name, text, trace.getActiveSpan() === root];
        },
      };
      return context.bind(context.active(), self.tell.bind(self));
    });
    expect(bound("text")).toEqual(["self", "text", true]);
  });

  test("of suppressed work nothing is recorded", async () => {
    await inRequest(() =>
      context.with(context.active().setValue(isSuppressed, true), () => {
        const span = tracer().startSpan("export");
        expect(span.isRecording()).toBe(false);
        span.end();
      }),
    );
    expect(await tree()).toEqual(["- > GET /x"]);
  });

  test("a span that finds no room passes on where its parent stands", async () => {
    await inRequest((root) => {
      for (let count = 0; count < 999; count += 1) root.record(ours, 1, 2);
      const span = tracer().startSpan("too many");
      expect(span.isRecording()).toBe(false);
      expect(span.spanContext().spanId).toBe(root.spanId);
    });
  });
});

describe("propagation", () => {
  test("what is sent has trace context and no baggage", async () => {
    await inRequest((root) => {
      const baggage = propagation.createBaggage({ user: { value: "ada@example.org" } });
      const carrier = {};
      propagation.inject(propagation.setBaggage(context.active(), baggage), carrier, defaultTextMapSetter);
      expect(carrier).toEqual({ traceparent: root.traceparent, tracestate: "a=1" });
    });
    const carrier = {};
    propagation.inject(ROOT_CONTEXT, carrier, defaultTextMapSetter);
    expect(carrier).toEqual({});
  });

  test("a trace that came is continued, by chance of our own", async () => {
    unregister();
    const none = recordTraces(0);
    unregister = registerOpenTelemetryApi(none.tracing);
    const came = propagation.extract(ROOT_CONTEXT, { traceparent, tracestate: "a=1" }, defaultTextMapGetter);
    expect(trace.getSpanContext(came)).toMatchObject({ ...caller, isRemote: true });
    const span = tracer().startSpan("consumer", {}, came) as Span;
    expect(span.trace).toMatchObject({ traceId: caller.traceId, remoteParentId: caller.spanId });
    expect(span.isKept).toBe(false);
    span.end();
    await none.tracing.close();
  });

  test("ids in capitals, which the API takes and W3C does not, are sent in small letters", () => {
    const [traceId, spanId] = [caller.traceId.toUpperCase(), caller.spanId.toUpperCase()];
    const within = trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: 1, isRemote: true });
    const span = tracer().startSpan("consumer", {}, within) as Span;
    expect(span.trace).toMatchObject({ traceId: caller.traceId, remoteParentId: caller.spanId });
    span.end();
    const carrier = {};
    propagation.inject(within, carrier, defaultTextMapSetter);
    expect(carrier).toEqual({ traceparent });
  });

  test.each([[{}], [{ traceparent: "no" }], [{ traceparent: `${traceparent}, ${traceparent}` }]])(
    "of %j nothing is continued",
    (carrier) => {
      expect(propagation.extract(ROOT_CONTEXT, carrier, defaultTextMapGetter)).toBe(ROOT_CONTEXT);
    },
  );
});

test("outside of a request a span begins a trace of its own", async () => {
  tracer().startActiveSpan("job", (job) => {
    tracer().startSpan("step").end();
    job.end();
  });
  expect(await tree()).toEqual(["- > job", "job > step"]);
});

test("whatever others give, each of their spans is exported, and can be serialized", async () => {
  const time = fc.oneof(
    fc.double(),
    fc.date({ noInvalidDate: false }),
    fc.tuple(fc.double(), fc.double()),
    fc.anything(),
  );
  const link = fc.record({ context: fc.oneof(fc.constant(caller), fc.object()), attributes: fc.object() });
  const options = fc.record(
    {
      kind: fc.oneof(fc.nat(6), fc.anything()),
      startTime: time,
      attributes: fc.object(),
      links: fc.oneof(fc.array(link), fc.string()),
    },
    { requiredKeys: [] },
  );
  let begun = 0;
  fc.assert(
    fc.property(fc.anything(), options, time, fc.anything(), (name, given, endTime, code) => {
      begun += 1;
      const span = tracer().startSpan(name as string, given as SpanOptions);
      span.addEvent(name as string, given.attributes as Attributes, given.startTime as TimeInput);
      span.setStatus({ code: code as SpanStatusCode }).updateName(name as string);
      span.end(endTime as TimeInput);
    }),
  );
  const spans = await traces.spans();
  expect(spans).toHaveLength(begun);
  for (const span of spans) {
    expect(ProtobufTraceSerializer.serializeRequest([span])?.byteLength).toBeGreaterThan(50);
    for (const part of [...span.startTime, ...span.endTime, ...span.duration])
      expect(part).toBeGreaterThanOrEqual(0);
  }
});

test("the sending of spans is suppressed", async () => {
  const seen: unknown[] = [];
  const agent = createOtlpExporter({
    get endpoint() {
      return "http://127.0.0.1:1";
    },
    headers: new Proxy(
      {},
      {
        ownKeys() {
          seen.push(context.active().getValue(isSuppressed));
          return [];
        },
      },
    ),
  });
  await agent.send([], new AbortController().signal);
  agent.close();
  expect(seen).toEqual([true]);
});

test("after a stop the API does nothing, and without tracing it is left to others", () => {
  unregister();
  expect(tracer().startSpan("late")).not.toBeInstanceOf(Span);
  registerOpenTelemetryApi(noTracing)();
  unregister = registerOpenTelemetryApi(traces.tracing);
  const second = registerOpenTelemetryApi(recordTraces().tracing);
  second();
  expect(tracer().startSpan("still")).toBeInstanceOf(Span);
});
