// Spans that are sent to a real Jaeger are read back as they were, and it can go and come back.
import { peer } from "@ectus/peers";
import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { readJaeger } from "./read-jaeger.ts";
import { type Jaeger, startJaeger } from "./start-jaeger.ts";

const program = (await peer("jaeger"))?.files.jaeger ?? "";
let jaeger: Jaeger;

describe.skipIf(program === "")("a Jaeger of a test", () => {
  beforeAll(async () => {
    jaeger = await startJaeger({ program });
  });
  afterAll(() => jaeger?.stop());

  function startTracer(service: string, { otlpUrl }: Jaeger = jaeger) {
    const exporter = new OTLPTraceExporter({ url: `${otlpUrl}/v1/traces` });
    const provider = new TracerProvider({
      resource: resourceFromAttributes({ "service.name": service, "service.version": "1.2.3" }),
      spanProcessors: [new BatchSpanProcessor({ exporter })],
    });
    onTestFinished(() => provider.shutdown());
    return { tracer: provider.getTracer("test"), sent: () => provider.forceFlush() };
  }
  const below = (span: Span) => trace.setSpan(ROOT_CONTEXT, span);
  const idOf = (span: Span): string => span.spanContext().traceId;

  test("a trace is read back as it was sent", async () => {
    const { tracer, sent } = startTracer("whole");
    const startTime = new Date("2026-01-02T03:04:05.678Z");
    const root = tracer.startSpan("POST /x", { kind: SpanKind.SERVER, startTime });
    const child = tracer.startSpan(
      "SELECT tenants",
      {
        kind: SpanKind.CLIENT,
        startTime: startTime.getTime() + 1,
        attributes: { text: "a", count: 3, share: 0.5, yes: true, list: ["a", "b"] },
        links: [{ context: root.spanContext(), attributes: { because: "of" } }],
      },
      below(root),
    );
    child.addEvent("first", { chunk: 1 }, startTime.getTime() + 2);
    child.setStatus({ code: SpanStatusCode.ERROR }).end(startTime.getTime() + 4);
    root.end(startTime.getTime() + 12.5);
    await sent();

    const found = await readJaeger(jaeger).waitForTrace(idOf(root), ({ spans }) => spans.length === 2);
    expect(found.outline()).toEqual(["POST /x", "  SELECT tenants"]);
    expect(found.roots).toHaveLength(1);
    const [above] = found.roots;
    expect(above).toMatchObject({
      spanId: root.spanContext().spanId,
      parentSpanId: undefined,
      kind: "SERVER",
      status: "UNSET",
      startMs: startTime.getTime(),
      durationMs: 12.5,
      attributes: {},
      resource: { "service.name": "whole", "service.version": "1.2.3" },
    });
    expect(found.childrenOf(above as NonNullable<typeof above>)).toMatchObject([
      {
        parentSpanId: root.spanContext().spanId,
        kind: "CLIENT",
        status: "ERROR",
        attributes: { text: "a", count: 3, share: 0.5, yes: true, list: ["a", "b"] },
        events: [{ name: "first", timeMs: startTime.getTime() + 2, attributes: { chunk: 1 } }],
        links: [{ traceId: idOf(root), spanId: root.spanContext().spanId, attributes: { because: "of" } }],
      },
    ]);
  });

  test("it gives all traces of a service, more than it gives by default", async () => {
    const { tracer, sent } = startTracer("many");
    const ids = Array.from({ length: 150 }, () => {
      const span = tracer.startSpan("one of many");
      span.end();
      return idOf(span);
    });
    await sent();
    const found = await readJaeger(jaeger).traces("many");
    expect(found.map(({ traceId }) => traceId).sort()).toEqual(ids.sort());
    expect(await readJaeger(jaeger).traces("nobody")).toEqual([]);
  });

  test("it comes back on the same ports, having forgotten everything", async () => {
    const first = await startJaeger({ program });
    onTestFinished(() => first.stop());
    const { tracer, sent } = startTracer("gone", first);
    const span = tracer.startSpan("before");
    span.end();
    await sent();
    expect(await readJaeger(first).trace(idOf(span))).toBeDefined();
    await first.stop();
    await expect(fetch(`${first.url}/api/services`)).rejects.toThrow();
    const second = await startJaeger({ program, ports: first.ports });
    onTestFinished(() => second.stop());
    expect(second.otlpUrl).toBe(first.otlpUrl);
    expect(await readJaeger(second).trace(idOf(span))).toBeUndefined();
  });
});
