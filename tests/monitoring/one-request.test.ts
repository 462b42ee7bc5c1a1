// One request, seen in the client's answer, the log, a trace and an exemplar: all lead to each other by one id.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer } from "@ectus/peers";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../postgres/until.ts";
import { type JaegerReader, type JaegerSpan, type JaegerTrace, readJaeger } from "./read-jaeger.ts";
import { chatModel, type Instance, startInstance } from "./start-instance.ts";
import { startJaeger } from "./start-jaeger.ts";
import { type Prometheus, startPrometheus } from "./start-prometheus.ts";

const jaegerPrograms = await peer("jaeger");
const prometheusPrograms = await peer("prometheus");

const started = new AsyncDisposableStack();
let reader: JaegerReader;
let prometheus: Prometheus;
/** The upstream of `outer`, with a double of a vendor as its own. */
let inner: Instance;
let outer: Instance;

describe.skipIf(jaegerPrograms === undefined || prometheusPrograms === undefined)("one request", () => {
  beforeAll(async () => {
    const jaeger = await startJaeger({ program: jaegerPrograms?.files.jaeger as string });
    started.defer(() => jaeger.stop());
    reader = readJaeger(jaeger);
    const environment = {
      OTEL_EXPORTER_OTLP_ENDPOINT: jaeger.otlpUrl,
      OTEL_TRACES_SAMPLER_ARG: "1",
      TRACE_TRUSTED_PEERS: "127.0.0.1",
    };
    // It keeps what its caller keeps, and by itself nothing.
    inner = await startInstance({
      ...environment,
      OTEL_SERVICE_NAME: "inner",
      OTEL_TRACES_SAMPLER_ARG: "0",
    });
    started.defer(() => inner.stop());
    const folder = await mkdtemp(join(tmpdir(), "ectus-providers-"));
    started.defer(() => rm(folder, { recursive: true, force: true }));
    const file = join(folder, "providers.yaml");
    await writeFile(file, JSON.stringify(providersOf(inner)));
    outer = await startInstance({ ...environment, OTEL_SERVICE_NAME: "outer", AI_PROVIDERS: file });
    started.defer(() => outer.stop());
    prometheus = await startPrometheus({
      program: prometheusPrograms?.files.prometheus as string,
      config: {
        global: { scrape_interval: "1s", scrape_timeout: "1s" },
        scrape_configs: [
          {
            job_name: "ectus",
            static_configs: [{ targets: [new URL(outer.metricsUrl).host] }],
          },
        ],
      },
    });
    started.defer(() => prometheus.stop());
  }, 120_000);
  afterAll(() => started.disposeAsync());

  test("is one trace over both instances, from the handler to the vendor", async () => {
    const { traceId, text } = await chat();
    expect(text).not.toBe("");
    const trace = await reader.waitForTrace(traceId, isWhole);
    const [root, ...others] = trace.roots as [JaegerSpan, ...JaegerSpan[]];
    expect(others).toEqual([]);
    expect(root).toMatchObject({
      name: "POST /v1/chat/completions",
      kind: "SERVER",
      status: "UNSET",
      attributes: {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
      },
      resource: { "service.name": "outer" },
    });
    const ai = only(trace, root, "ai.chat");
    expect(ai).toMatchObject({
      kind: "CLIENT",
      attributes: { "gen_ai.operation.name": "chat", "gen_ai.request.model": "nested" },
    });
    expect(ai.events.map(({ name }) => name)).toContain("gen_ai.first_token");
    const http = only(trace, ai, "HTTP POST");
    expect(http).toMatchObject({
      kind: "CLIENT",
      attributes: { "http.response.status_code": 200, "server.port": Number(new URL(inner.url).port) },
    });
    const far = only(trace, http, "POST /v1/chat/completions");
    expect(far).toMatchObject({ kind: "SERVER", resource: { "service.name": "inner" } });
    const farAi = only(trace, far, "ai.chat");
    const vendor = only(trace, farAi, "HTTP POST");
    expect(treeOf(trace)).toEqual(tree);
    for (const { attributes, kind, name } of trace.spans)
      if (attributes["db.operation.name"] !== undefined) expect(kind, name).toBe("CLIENT");
    // Each lies within its parent, on one machine with one clock.
    for (const span of trace.spans)
      for (const child of trace.childrenOf(span))
        expect(child.startMs, `${child.name} in ${span.name}`).toBeGreaterThanOrEqual(span.startMs - 1);
    // The vendor got the trace, and no more of what the client sent.
    const { headers } = inner.upstream.requests.at(-1) as (typeof inner.upstream.requests)[number];
    expect(headers.traceparent).toBe(`00-${traceId}-${vendor.spanId}-01`);
    expect(headers).not.toHaveProperty("baggage");
  });

  test("has its id on every log line of both instances, and in the exemplar that Prometheus stored", async () => {
    const { traceId } = await chat();
    const linesOf = ({ lines }: Instance) => lines.filter((line) => line.traceId === traceId);
    await until(() => linesOf(outer).length > 0 && linesOf(inner).length > 0);
    expect(linesOf(outer)).toEqual([
      expect.objectContaining({
        requestId: `req_${traceId}`,
        correlationId: `req_${traceId}`,
        path: "/v1/chat/completions",
        status: 200,
        spanId: expect.stringMatching(/^[\da-f]{16}$/),
      }),
    ]);
    // The correlation id goes on from instance to instance; each request has an id of its own.
    expect(linesOf(inner)).toEqual([
      expect.objectContaining({ correlationId: `req_${traceId}`, status: 200 }),
    ]);
    expect(linesOf(inner)[0]?.requestId).not.toBe(`req_${traceId}`);
    const trace = await reader.waitForTrace(traceId, isWhole);
    expect(trace.roots[0]?.spanId).toBe(linesOf(outer)[0]?.spanId);

    await until(
      async () => {
        const series = await prometheus.exemplars(
          'http_request_duration_seconds_bucket{path="/v1/chat/completions"}',
        );
        return series.some(({ exemplars }) => exemplars.some(({ labels }) => labels.trace_id === traceId));
      },
      20_000,
      100,
    );
  });
});

/** Asks `outer` with the official client. */
async function chat(): Promise<{ readonly traceId: string; readonly text: string }> {
  const client = new OpenAI({ baseURL: `${outer.url}/v1`, apiKey: outer.key, maxRetries: 0 });
  const { data, response } = await client.chat.completions
    .create(
      { model: "nested", messages: [{ role: "user", content: "Hi" }], stream: true },
      { headers: { baggage: "customer=jane" } },
    )
    .withResponse();
  let text = "";
  for await (const chunk of data) text += chunk.choices[0]?.delta.content ?? "";
  const requestId = response.headers.get("x-request-id") as string;
  expect(requestId).toMatch(/^req_[\da-f]{32}$/);
  return { traceId: requestId.slice("req_".length), text };
}

const tree = [
  "POST /v1/chat/completions",
  "  find_api_key api_keys",
  "  ai.chat",
  "    HTTP POST",
  "      POST /v1/chat/completions",
  "        find_api_key api_keys",
  "        ai.chat",
  "          HTTP POST",
  "        settle usage",
  "  settle usage",
];

/** Without waits, of which a busy machine has more. */
function treeOf(trace: JaegerTrace): readonly string[] {
  return trace.outline().filter((line) => !/^ *(pool\.wait|ai\.queue|wait )/.test(line));
}

/** What ends after the end of its request is exported by itself. A key that is known is not looked up. */
function isWhole(trace: JaegerTrace): boolean {
  const expected = tree.filter((line) => !line.includes("find_api_key")).length;
  return treeOf(trace).filter((line) => !line.includes("find_api_key")).length >= expected;
}

function only(trace: JaegerTrace, parent: JaegerSpan, name: string): JaegerSpan {
  const found = trace.childrenOf(parent).filter((span) => span.name === name);
  expect(found, `${name} in\n${trace.outline().join("\n")}`).toHaveLength(1);
  return found[0] as JaegerSpan;
}

function providersOf({ url, key }: Instance): object {
  return {
    providers: { inner: { type: "openai", baseUrl: `${url}/v1`, apiKey: key, retries: 0 } },
    models: { nested: { operations: ["chat"], routes: [{ provider: "inner", model: chatModel }] } },
  };
}
