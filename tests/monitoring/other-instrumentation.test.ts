// Instrumentation that we did not write, of OpenTelemetry's own collection, over our recorder: what it records is part
// of the request's trace.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { currentContext, newHexUuid, type RequestContext, runInContext } from "@ectus/core";
import { registerOpenTelemetryApi, type Span, startSpan } from "@ectus/monitoring";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { getNodeAutoInstrumentations } from "@opentelemetry/auto-instrumentations-node";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { recordTraces } from "./recorded-traces.ts";

const server = { name: "POST /x", kind: SpanKind.SERVER, attributes: {} };
const work = { name: "work", kind: SpanKind.INTERNAL, attributes: {} };

const traces = recordTraces();
const received: IncomingHttpHeaders[] = [];
const upstream = createServer((request, response) => {
  received.push(request.headers);
  response.writeHead(request.url === "/broken" ? 500 : 200).end();
});
const started = new AsyncDisposableStack();

beforeAll(async () => {
  started.defer(() => traces.tracing.close());
  started.defer(registerOpenTelemetryApi(traces.tracing));
  // It reads what happens in fetch from a channel of Node.js, and needs no hook into modules.
  vi.stubEnv("OTEL_NODE_ENABLED_INSTRUMENTATIONS", "undici");
  const instrumentations = getNodeAutoInstrumentations();
  started.defer(() => {
    for (const instrumentation of instrumentations) instrumentation.disable();
  });
  expect(instrumentations.map(({ instrumentationName }) => instrumentationName)).toEqual([
    "@opentelemetry/instrumentation-undici",
  ]);
  upstream.listen(0, "127.0.0.1");
  started.defer(() => {
    upstream.closeAllConnections();
    upstream.close();
  });
  await once(upstream, "listening");
});
afterAll(() => started.disposeAsync());

test("the requests that it sees are below the span that is current, at once and one after the other", async () => {
  const url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  const id = newHexUuid();
  const root = traces.tracing.beginRequest(server, {
    id,
    traceparent: undefined,
    tracestate: undefined,
    isTrusted: () => false,
  }) as Span;
  await runInContext({ correlationId: id, requestId: `req_${id}`, span: root }, async () => {
    await fetch(`${url}/first`);
    const span = startSpan(work) as Span;
    await runInContext({ ...(currentContext() as RequestContext), span }, () =>
      Promise.all([fetch(`${url}/broken`), fetch(`${url}/other`)]),
    );
    span.end();
    await fetch(`${url}/last`);
  });
  root.end();

  const spans = await traces.spans();
  const nameOf = new Map(spans.map((span) => [span.spanContext().spanId, span.name]));
  const sent = spans.filter(({ kind }) => kind === SpanKind.CLIENT);
  expect(
    sent.map(({ attributes, parentSpanContext }) => [
      attributes["url.path"],
      nameOf.get(parentSpanContext?.spanId ?? ""),
    ]),
  ).toEqual([
    ["/first", "POST /x"],
    ["/broken", "work"],
    ["/other", "work"],
    ["/last", "POST /x"],
  ]);
  expect(sent.map(({ status }) => status.code === SpanStatusCode.ERROR)).toEqual([false, true, false, false]);
  expect(new Set(spans.map((span) => span.spanContext().traceId))).toEqual(new Set([id]));
  for (const { instrumentationScope } of sent)
    expect(instrumentationScope.name).toBe("@opentelemetry/instrumentation-undici");
  // An upstream is told of the span that stands for its request.
  expect(received.map(({ traceparent }) => traceparent).toSorted()).toEqual(
    sent.map((span) => `00-${id}-${span.spanContext().spanId}-01`).toSorted(),
  );
});
