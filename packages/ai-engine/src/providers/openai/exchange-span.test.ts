import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setImmediate as nextTurn } from "node:timers/promises";
import { currentContext, EctusError, type Logger, runInContext } from "@ectus/core";
import { currentSpan, noTracing, type Tracing } from "@ectus/monitoring";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { drawTree, inTrace } from "../../../../../tests/monitoring/in-trace.ts";
import { type RecordedTraces, recordTraces } from "../../../../../tests/monitoring/recorded-traces.ts";
import { startUpstream, type Upstream } from "../../../../../tests/openai-upstream/upstream.ts";
import type { ChatRequest } from "../../chat.ts";
import { createEngine, type Engine } from "../../engine.ts";
import { parseProviders } from "../../providers-file.ts";
import { exchangeTemplate } from "./exchange-span.ts";
import { createOpenAiProvider } from "./openai-provider.ts";

const { signal } = new AbortController();
type ReadableSpan = Awaited<ReturnType<RecordedTraces["spans"]>>[number];
const prompt = "the words of the prompt";
const request: ChatRequest = {
  model: "m",
  messages: [{ role: "user", content: prompt }],
  stop: ["the stop text"],
  user: "the user's name",
};

let upstream: Upstream;
let spare: Upstream;
let traces: RecordedTraces;
let engine: Engine;
const logged: { line: object; traceId: string | undefined; spanId: string | undefined }[] = [];

beforeEach(async () => {
  [upstream, spare] = await Promise.all([startUpstream(), startUpstream()]);
  traces = recordTraces();
  engine = createUpstreamEngine();
});

afterEach(async () => {
  logged.length = 0;
  await engine.close();
  await Promise.all([upstream.close(), spare.close()]);
});

/** `m` goes to `up`, then to `spare`; `single` goes to `up` only. */
function createUpstreamEngine({
  timeoutMs = 5000,
  idleMs = 5000,
  retries = 2,
  baseUrl = upstream.baseUrl,
} = {}) {
  const settings = (url: string) =>
    `{ type: openai, baseUrl: "${url}", timeoutMs: ${timeoutMs}, streamIdleTimeoutMs: ${idleMs} }`;
  const config = parseProviders(
    `providers:
  up: ${settings(baseUrl)}
  spare: ${settings(spare.baseUrl)}
models:
  m: { operations: [chat], routes: [{ provider: up, model: theirs }, { provider: spare, model: others }] }
  single: { operations: [chat], routes: [{ provider: up, model: theirs }] }
  vectors: { operations: [embeddings], routes: [{ provider: up, model: theirs }] }
`,
    {},
    "providers.yaml",
  );
  const log = {
    warn: (line: object) => {
      const span = currentContext()?.span;
      logged.push({ line, traceId: span?.traceId, spanId: span?.spanId });
    },
  } as unknown as Logger;
  const provider = (name: string, url: string) =>
    createOpenAiProvider({
      name,
      baseUrl: url,
      timeoutMs,
      streamIdleTimeoutMs: idleMs,
      retries,
      random: () => 0,
      log,
    });
  return createEngine({
    config,
    providers: new Map([
      ["up", provider("up", baseUrl)],
      ["spare", provider("spare", spare.baseUrl)],
    ]),
    log,
  });
}

const read = async () => Array.fromAsync((await engine.streamChat(request, { signal })).chunks);

async function exchangesOf(recorded = traces): Promise<readonly ReadableSpan[]> {
  const start = ({ startTime: [seconds, nanoseconds] }: ReadableSpan): number => seconds * 1e9 + nanoseconds;
  return (await recorded.spans())
    .filter(({ name }) => name === "HTTP POST")
    .toSorted((a, b) => start(a) - start(b));
}

const headersSent = ({ requests }: Upstream) => requests.map(({ headers }) => headers);
const traceparentOf = (span: ReadableSpan, flags: string): string =>
  `00-${span.spanContext().traceId}-${span.spanContext().spanId}-${flags}`;
const portOf = ({ baseUrl }: Upstream): number => Number(new URL(baseUrl).port);
const ofChat = () => ({
  "http.request.method": "POST",
  "server.address": "127.0.0.1",
  "server.port": portOf(upstream),
  "url.template": "/chat/completions",
  "network.protocol.version": "1.1",
  "ectus.provider": "up",
});

describe("an exchange", () => {
  test("is a span under that of its call, and the upstream's trace goes on from it", async () => {
    await inTrace(traces, () => engine.chat(request, { signal, correlationId: "the-correlation" }));
    expect(drawTree(await traces.spans())).toEqual(["request", "  ai.chat", "    HTTP POST"]);
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.kind).toBe(SpanKind.CLIENT);
    expect(span.attributes).toEqual({ ...ofChat(), "http.response.status_code": 200 });
    expect(span.status).toEqual({ code: SpanStatusCode.UNSET });
    expect(span.events).toEqual([]);
    const [headers] = headersSent(upstream);
    expect(headers).toMatchObject({
      traceparent: traceparentOf(span, "01"),
      "x-request-id": "the-correlation",
    });
    expect(headers).not.toHaveProperty("tracestate");
    expect(headers).not.toHaveProperty("baggage");
  });

  test("of embeddings has its own path", async () => {
    await inTrace(traces, () => engine.embed({ model: "vectors", input: prompt }, { signal }));
    expect(drawTree(await traces.spans())).toEqual(["request", "  ai.embeddings", "    HTTP POST"]);
    expect((await exchangesOf())[0]?.attributes["url.template"]).toBe("/embeddings");
  });

  test("that is tried again has a span for each try, and keeps the trace", async () => {
    traces = recordTraces(0);
    upstream.next({ status: 503 }, { reset: "before-headers" });
    await inTrace(traces, () => engine.chat({ ...request, model: "single" }, { signal }));
    expect(drawTree(await traces.spans())).toEqual([
      "request",
      "  ai.chat",
      "    HTTP POST",
      "    HTTP POST",
      "    HTTP POST",
    ]);
    const spans = await exchangesOf();
    expect(spans.map(({ attributes }) => attributes)).toEqual([
      { ...ofChat(), "http.response.status_code": 503, "error.type": "503" },
      { ...ofChat(), "http.request.resend_count": 1, "error.type": "ECONNRESET" },
      { ...ofChat(), "http.request.resend_count": 2, "http.response.status_code": 200 },
    ]);
    const { ERROR, UNSET } = SpanStatusCode;
    expect(spans.map(({ status }) => status.code)).toEqual([ERROR, ERROR, UNSET]);
    expect(headersSent(upstream).map(({ traceparent }) => traceparent)).toEqual(
      spans.map((span) => traceparentOf(span, "00")),
    );
    const call = (await traces.spans()).find(({ name }) => name === "ai.chat");
    expect(call?.status.code).toBe(UNSET);
    // What is logged of the tries leads to the call.
    expect(logged.map(({ spanId }) => spanId)).toEqual(Array(2).fill(call?.spanContext().spanId));
  });

  test("that was limited and then was not is no failure", async () => {
    traces = recordTraces(0);
    upstream.next({ status: 429 });
    await inTrace(traces, () => engine.chat(request, { signal }));
    expect(upstream.requestCount).toBe(2);
    expect(await traces.spans()).toEqual([]);
  });

  test("with a provider that fails is followed by that with the next, in the same call", async () => {
    traces = recordTraces(0);
    upstream.always({ status: 500 });
    await inTrace(traces, () => engine.chat(request, { signal }));
    expect(drawTree(await traces.spans())).toEqual([
      "request",
      "  ai.chat",
      "    HTTP POST",
      "    HTTP POST",
    ]);
    const [first, second] = (await exchangesOf()) as [ReadableSpan, ReadableSpan];
    expect(first.attributes).toMatchObject({ "ectus.provider": "up", "error.type": "500" });
    expect(second.attributes).toMatchObject({
      "ectus.provider": "spare",
      "server.port": portOf(spare),
      "http.response.status_code": 200,
    });
    expect(headersSent(spare)[0]?.traceparent).toBe(traceparentOf(second, "00"));
  });

  test("that is refused is the request's fault", async () => {
    traces = recordTraces(0);
    const seen = recordTraces();
    upstream.always({ status: 400, errorMessage: prompt });
    for (const recorded of [traces, seen])
      await inTrace(recorded, () => engine.chat(request, { signal })).catch(() => {});
    expect(await traces.spans()).toEqual([]);
    const [span] = (await exchangesOf(seen)) as [ReadableSpan];
    expect(span.attributes).toEqual({ ...ofChat(), "http.response.status_code": 400, "error.type": "400" });
    expect(span.status).toEqual({ code: SpanStatusCode.ERROR });
  });

  test("with nobody is one of a failed connection", async () => {
    const gone = await startUpstream();
    await gone.close();
    await engine.close();
    engine = createUpstreamEngine({ baseUrl: gone.baseUrl, retries: 0 });
    await inTrace(traces, () => engine.chat({ ...request, model: "single" }, { signal })).catch(() => {});
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes["error.type"]).toBe("ECONNREFUSED");
    expect(span.attributes).not.toHaveProperty("http.response.status_code");
    expect(span.events).toEqual([]);
  });

  test("that takes too long is a timeout", async () => {
    await engine.close();
    engine = createUpstreamEngine({ timeoutMs: 50, retries: 0 });
    upstream.always({ hang: "before-headers" });
    await inTrace(traces, () => engine.chat({ ...request, model: "single" }, { signal })).catch(() => {});
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes["error.type"]).toBe("upstream_timeout");
    expect(span.status.code).toBe(SpanStatusCode.ERROR);
  });

  test("that nobody waits for any more is no error", async () => {
    upstream.always({ hang: "before-headers" });
    const controller = new AbortController();
    await inTrace(traces, async () => {
      const answer = engine.chat(request, { signal: controller.signal }).catch(() => {});
      await upstream.nextRequest();
      controller.abort();
      await answer;
    });
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes).toEqual({ ...ofChat(), "ectus.outcome": "aborted" });
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
    expect(span.events).toEqual([]);
  });
});

describe("a stream", () => {
  test("is over when its last chunk came", async () => {
    await inTrace(traces, () => read());
    expect(drawTree(await traces.spans())).toEqual(["request", "  ai.chat", "    HTTP POST"]);
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes).toEqual({ ...ofChat(), "http.response.status_code": 200 });
    expect(span.events.map(({ name }) => name)).toEqual(["http.response.head"]);
    const call = (await traces.spans()).find(({ name }) => name === "ai.chat");
    expect(call?.attributes).toMatchObject({
      "gen_ai.response.finish_reasons": ["stop"],
      "gen_ai.usage.input_tokens": 9,
      "gen_ai.usage.output_tokens": 3,
    });
  });

  test("is over with its end mark, whatever its connection does then", async () => {
    upstream.always({ raw: "data: [DONE]\n\n", dripMs: 60_000 });
    await inTrace(traces, () => read());
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes).toEqual({ ...ofChat(), "http.response.status_code": 200 });
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
  });

  test("that has a head and no chunk is a timeout, which the next provider mends", async () => {
    traces = recordTraces(0);
    await engine.close();
    engine = createUpstreamEngine({ idleMs: 50 });
    upstream.always({ hang: "after-headers" });
    await inTrace(traces, () => read());
    const [first, second] = (await exchangesOf()) as [ReadableSpan, ReadableSpan];
    expect(first.attributes).toMatchObject({ "ectus.provider": "up", "error.type": "upstream_timeout" });
    expect(second.attributes).toMatchObject({ "ectus.provider": "spare", "http.response.status_code": 200 });
  });

  test("that breaks after its first chunk failed, and so did its call", async () => {
    traces = recordTraces(0);
    upstream.always({ reset: "mid-stream" });
    await inTrace(traces, () => read().catch(() => {}));
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes).toEqual({
      ...ofChat(),
      "http.response.status_code": 200,
      "error.type": "upstream_error",
    });
    const call = (await traces.spans()).find(({ name }) => name === "ai.chat");
    expect(call?.attributes).toMatchObject({
      "ectus.outcome": "interrupted",
      "error.type": "stream_interrupted",
    });
  });

  test("that falls silent is a timeout", async () => {
    await engine.close();
    engine = createUpstreamEngine({ idleMs: 50 });
    upstream.always({ hang: "mid-stream" });
    await inTrace(traces, () => read().catch(() => {}));
    expect((await exchangesOf())[0]?.attributes["error.type"]).toBe("upstream_timeout");
  });

  test("whose client leaves ends its exchange without an error", async () => {
    upstream.always({ hang: "mid-stream" });
    const controller = new AbortController();
    await inTrace(traces, async () => {
      const { chunks } = await engine.streamChat(request, { signal: controller.signal });
      const reader = chunks[Symbol.asyncIterator]();
      await reader.next();
      const waiting = reader.next().catch(() => {});
      controller.abort();
      await waiting;
    });
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes).toEqual({
      ...ofChat(),
      "http.response.status_code": 200,
      "ectus.outcome": "aborted",
    });
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
  });

  test("that its reader gives up is stopped", async () => {
    upstream.always({ hang: "mid-stream" });
    await inTrace(traces, async () => {
      const { chunks } = await engine.streamChat(request, { signal });
      for await (const _chunk of chunks) break;
    });
    expect((await exchangesOf())[0]?.attributes["ectus.outcome"]).toBe("stopped");
  });
});

describe("what an upstream is told of the trace", () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const parentId = "b7ad6b7169203331";
  const traceparent = `00-${traceId}-${parentId}-01`;
  const template = { name: "request", kind: SpanKind.SERVER, attributes: {} };

  async function askFor(tracing: Tracing, isTrusted: boolean, tracestate: string): Promise<void> {
    const incoming = { id: "f".repeat(32), traceparent, tracestate, isTrusted: () => isTrusted };
    const span = tracing.beginRequest(template, incoming);
    await runInContext({ correlationId: "c", requestId: "r", span }, async () => {
      await engine.chat(request, { signal });
      currentSpan()?.end();
    });
  }

  test("is its caller's place in it when nothing is recorded", async () => {
    await askFor(noTracing, false, "vendor=1");
    await askFor(noTracing, true, "vendor=1");
    const [first, second] = headersSent(upstream);
    expect([first?.traceparent, second?.traceparent]).toEqual([traceparent, traceparent]);
    expect([first?.tracestate, second?.tracestate]).toEqual([undefined, "vendor=1"]);
  });

  test("is nothing outside of any", async () => {
    await engine.chat(request, { signal });
    await runInContext({ correlationId: "c", requestId: "r" }, () => engine.chat(request, { signal }));
    for (const headers of headersSent(upstream)) expect(headers).not.toHaveProperty("traceparent");
  });

  test("is the same trace with the span of the exchange, and a trusted caller's state", async () => {
    await askFor(traces.tracing, true, "vendor=1");
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.spanContext().traceId).toBe(traceId);
    expect(headersSent(upstream)[0]).toMatchObject({
      traceparent: traceparentOf(span, "01"),
      tracestate: "vendor=1",
    });
    await askFor(traces.tracing, false, "vendor=1");
    expect(headersSent(upstream)[1]).not.toHaveProperty("tracestate");
  });

  test.each(["\u00ff=1", "v=".padEnd(600, "1"), ""])(
    "leaves out a state that is none",
    async (tracestate) => {
      await askFor(noTracing, true, tracestate);
      expect(headersSent(upstream)[0]?.traceparent).toBe(traceparent);
      expect(headersSent(upstream)[0]).not.toHaveProperty("tracestate");
    },
  );

  test("is the place of the request when there is no room for its spans", async () => {
    let position: string | undefined;
    await inTrace(traces, async () => {
      const root = currentSpan();
      position = root?.traceparent;
      while (root?.record(template, 0, 1) !== undefined);
      await engine.chat(request, { signal });
    });
    expect(headersSent(upstream)[0]?.traceparent).toBe(position);
    expect(await exchangesOf()).toEqual([]);
  });
});

test("calls that share a connection do not share their traces, and it runs in none of them", async () => {
  const seen: unknown[] = [];
  const look = (): void => {
    seen.push(currentContext());
  };
  const channels = ["undici:client:connected", "undici:request:headers", "undici:request:trailers"];
  for (const channel of channels) subscribe(channel, look);
  try {
    for (const id of ["first", "second", "third"]) {
      await inTrace(traces, () => engine.chat(request, { signal }), id);
      // The pool has the connection back once the answer's last callback is over.
      await nextTurn();
    }
  } finally {
    for (const channel of channels) unsubscribe(channel, look);
  }
  expect(upstream.connectionCount).toBe(1);
  expect(seen).toEqual(Array(7).fill(undefined));
  const spans = await exchangesOf();
  expect(new Set(spans.map((span) => span.spanContext().traceId)).size).toBe(3);
  expect(headersSent(upstream).map((headers) => headers.traceparent)).toEqual(
    spans.map((span) => traceparentOf(span, "01")),
  );
});

test("calls at the same time have each their own trace in spans, headers and log lines", async () => {
  upstream.always({ status: 503 });
  const ids = ["a", "b", "c", "d", "e"];
  await Promise.all(ids.map((id) => inTrace(traces, () => engine.chat(request, { signal }), id)));
  const spans = await traces.spans();
  const calls = spans.filter(({ name }) => name === "ai.chat");
  expect(calls).toHaveLength(5);
  for (const call of calls) {
    const { traceId, spanId } = call.spanContext();
    const own = spans.filter((span) => span.spanContext().traceId === traceId);
    expect(drawTree(own)).toEqual(["request", "  ai.chat", ...Array(4).fill("    HTTP POST")]);
    // Two tries more and a failure each; one of them opened the circuit.
    const lines = logged.filter(({ line, ...at }) => at.traceId === traceId && !("circuit" in line));
    expect(lines.map((line) => line.spanId)).toEqual(Array(3).fill(spanId));
    const sent = [...headersSent(upstream), ...headersSent(spare)].map(({ traceparent }) => traceparent);
    expect(sent.filter((header) => String(header).includes(traceId))).toHaveLength(4);
  }
});

test("no word of a prompt, an answer or an upstream's error is in any span", async () => {
  const words = ["the words", "stop text", "user's name", "hostile", "Bearer", "secret"];
  const hostile = JSON.stringify({
    id: "hostile id",
    model: "hostile model",
    choices: [{ index: 0, delta: { content: "secret answer" }, finish_reason: "hostile reason" }],
    usage: { prompt_tokens: "hostile count", completion_tokens: 1 },
  });
  upstream.next({ raw: hostile.replace("delta", "message") });
  await inTrace(traces, () => engine.chat(request, { signal }));
  upstream.next({ raw: `data: ${hostile}\n\n` });
  await inTrace(traces, () => read());
  upstream.next({ errorEvent: { as: "event", message: "secret error" } });
  await inTrace(traces, () => read().catch(() => {}));
  upstream.next({ status: 400, errorMessage: "hostile error" });
  await inTrace(traces, () => engine.chat(request, { signal })).catch(() => {});
  const spans = await traces.spans();
  expect(spans.filter(({ name }) => name === "ai.chat")).toHaveLength(4);
  const serialized = JSON.stringify(
    spans.map(({ name, attributes, events, status, links }) => ({ name, attributes, events, status, links })),
  );
  for (const word of words) expect(serialized).not.toContain(word);
  expect(serialized).toContain("theirs");
});

test.each<"before-headers" | "mid-stream">(["before-headers", "mid-stream"])(
  "a call that the engine's end cuts %s leaves no span open",
  async (hang) => {
    upstream.always({ hang });
    await inTrace(traces, async () => {
      const reading = read().catch((error: unknown) => error);
      await upstream.nextRequest();
      await engine.close();
      expect(await reading).toBeInstanceOf(EctusError);
    });
    engine = createUpstreamEngine();
    const [span] = (await exchangesOf()) as [ReadableSpan];
    expect(span.attributes["error.type"]).toBe("upstream_error");
    expect((await traces.spans()).map(({ name }) => name)).toContain("ai.chat");
  },
);

test.each([
  ["https://api.example.com/v1", "api.example.com", 443],
  ["http://api.example.com/v1", "api.example.com", 80],
  ["http://[::1]:8000/v1", "::1", 8000],
  ["https://user:secret@api.example.com/secret/v1?key=secret", "api.example.com", 443],
])("the server of %s is named without more", (url, address, port) => {
  const { attributes } = exchangeTemplate("up", new URL(url), "chat/completions");
  expect([attributes["server.address"], attributes["server.port"]]).toEqual([address, port]);
  expect(JSON.stringify(attributes)).not.toContain("secret");
});

test("a call that this server cuts before it is sent has nothing to send", async () => {
  const aborted = AbortSignal.abort(new EctusError("shutting_down"));
  await inTrace(traces, () => engine.chat(request, { signal: aborted })).catch(() => {});
  expect(drawTree(await traces.spans())).toEqual(["request", "  ai.chat"]);
  expect(upstream.requestCount).toBe(0);
});
