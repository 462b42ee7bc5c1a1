// What is measured of inference over HTTP: the same tokens and costs as in the usage rows, each request once, and of
// its time only what this platform took.
import { setImmediate as nextTurn } from "node:timers/promises";
import { createInstruments, Registry } from "@ectus/monitoring";
import type { ChatCompletionCreateParamsStreaming } from "openai/resources/chat/completions";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { recordTraces } from "../monitoring/recorded-traces.ts";
import { countedIn, exemplarsOf, measuredValue, samplesOf } from "../postgres/measured.ts";
import { until } from "../postgres/until.ts";
import { rawConnection } from "./raw-http.ts";
import { chatModel, embeddingModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

const registry = new Registry();
let api: TestApi;
let tenant: TestTenant;

beforeAll(async () => {
  api = await startApi({
    instruments: createInstruments(registry),
    // What a caller on this machine keeps is kept, and nothing else.
    tracing: recordTraces(0).tracing,
    traceTrustedPeers: ["127.0.0.1"],
    timeoutMs: 500,
    streamIdleTimeoutMs: 500,
  });
});
afterAll(() => api?.close());
beforeEach(async () => {
  tenant = await api.makeTenant({ monthly_token_budget: 10_000_000 });
  registry.resetMetrics();
  asked = api.upstream.requestCount;
});

let asked = 0;
/** The request that the upstream gets next in this test. */
async function upstreamRequest() {
  await until(() => api.upstream.requestCount > asked);
  return api.upstream.requests.at(-1) as (typeof api.upstream.requests)[number];
}

const chat = { model: chatModel, messages: [{ role: "user" as const, content: "Hi" }], max_tokens: 100 };
const streamed: ChatCompletionCreateParamsStreaming = { ...chat, stream: true };
const requests = "ai_inference_requests_total";
const overhead = "ai_gateway_overhead_seconds";

const ask = () => tenant.client.chat.completions.create(chat);
const stream = async () => Array.fromAsync(await tenant.client.chat.completions.create(streamed));
const embed = () => tenant.client.embeddings.create({ model: embeddingModel, input: "Hi" });
const overheadSeconds = () => samplesOf(registry, overhead).reduce((total, { sum }) => total + sum, 0);
const counted = (name: string) => countedIn(registry, name);

interface Rows {
  readonly input: number;
  readonly output: number;
  readonly picodollars: string;
}

describe("answers", () => {
  test("have the tokens and the cost of their usage rows", async () => {
    for (const [prompt_tokens, completion_tokens] of [
      [11, 7],
      [123, 45],
      [1_000_003, 1],
    ] as const) {
      api.upstream.next({ usage: { prompt_tokens, completion_tokens } });
      await ask();
      api.upstream.next({ usage: { prompt_tokens, completion_tokens } });
      await stream();
      api.upstream.next({ usage: { prompt_tokens, completion_tokens: 0 } });
      await embed();
    }
    const rows = await api.sql<Rows & { readonly model: string }>(
      `select model, sum(input_tokens)::int as input, sum(output_tokens)::int as output,
         (sum(cost_usd) * 1e12)::numeric(30, 0)::text as picodollars
       from usage where tenant_id = $1 group by model`,
      [tenant.id],
    );
    expect(rows).toHaveLength(2);
    for (const { model, input, output, picodollars } of rows) {
      expect(measuredValue(registry, "ai_tokens_total", { model, type: "input" })).toBe(input);
      expect(measuredValue(registry, "ai_tokens_total", { model, type: "output" })).toBe(output);
      expect(measuredValue(registry, "ai_cost_usd_total", { model })).toBeCloseTo(
        Number(picodollars) / 1e12,
        12,
      );
    }
    expect(counted(requests)).toEqual([
      `double ${chatModel} chat completed: 6`,
      `double ${embeddingModel} embeddings completed: 3`,
    ]);
    expect(counted(overhead)).toEqual(["chat: 6", "embeddings: 3"]);
    expect(counted("ai_time_to_first_token_seconds")).toEqual([`double ${chatModel}: 3`]);
    expect(counted("ai_active_sessions")).toEqual([]);
    expect(counted("ai_inference_errors_total")).toEqual([]);
  });

  test("within a sampled trace lead to it", async () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await tenant.client.chat.completions.create(chat, { headers: { traceparent } });
    const exemplars = exemplarsOf(registry, "ai_inference_duration_seconds");
    expect(exemplars).toEqual([{ trace_id: "0af7651916cd43dd8448eb211c80319c" }]);
  });
});

describe("requests without an answer", () => {
  test.each([
    ["failed", "upstream_error", { status: 500 }],
    ["failed", "upstream_timeout", { hang: "before-headers" }],
    ["rejected", "upstream_rejected", { status: 400 }],
    ["overloaded", "upstream_rate_limited", { status: 429 }],
  ] as const)("are %s because of %s, and have no overhead", async (outcome, reason, behavior) => {
    api.upstream.next(behavior);
    await expect(ask()).rejects.toThrow();
    expect(counted(requests)).toEqual([`double ${chatModel} chat ${outcome}: 1`]);
    expect(counted("ai_inference_errors_total")).toEqual([`double ${chatModel} ${reason}: 1`]);
    expect(counted("ai_active_sessions")).toEqual([]);
    expect(counted(overhead)).toEqual([]);
  });

  test("of a stream that breaks are interrupted", async () => {
    api.upstream.next({ reset: "mid-stream" });
    await expect(stream()).rejects.toThrow();
    expect(counted(requests)).toEqual([`double ${chatModel} chat interrupted: 1`]);
    expect(counted("ai_active_sessions")).toEqual([]);
    expect(counted(overhead)).toEqual([]);
  });

  test("whose client left are its own", async () => {
    const rest = Promise.withResolvers<void>();
    api.upstream.next({ restAfter: rest.promise });
    for await (const _chunk of await tenant.client.chat.completions.create(streamed)) {
      expect(counted("ai_active_sessions")).toEqual([`${chatModel}: 1`]);
      break;
    }
    await until(() => counted(requests).length > 0);
    rest.resolve();
    expect(counted(requests)).toEqual([`double ${chatModel} chat client_closed: 1`]);
    expect(counted("ai_active_sessions")).toEqual([]);
    expect(counted("ai_inference_errors_total")).toEqual([]);
    expect(counted(overhead)).toEqual([]);
  });

  test("for a model that does not exist, or does something else, make no series of the client's text", async () => {
    const names = ["what the client wrote", embeddingModel];
    for (const model of names)
      await expect(tenant.client.chat.completions.create({ ...chat, model })).rejects.toThrow();
    expect(counted(requests)).toEqual([`none ${embeddingModel} chat rejected: 1`]);
    for (const { name } of registry.getMetricsAsArray())
      expect(JSON.stringify(samplesOf(registry, name))).not.toContain(names[0]);
  });
});

describe("the overhead", () => {
  /** Does other work for a while, and gives the milliseconds that it took. */
  async function passTime(): Promise<number> {
    const since = performance.now();
    for (let count = 0; count < 30; count += 1) await api.request("GET", "/v1/models", { key: tenant.key });
    return performance.now() - since;
  }

  test("of an answer leaves out what the provider took", async () => {
    const held = Promise.withResolvers<void>();
    api.upstream.next({ after: held.promise });
    const since = performance.now();
    const asking = ask();
    await upstreamRequest();
    const heldMs = await passTime();
    held.resolve();
    await asking;
    const tookMs = performance.now() - since;
    expect(overheadSeconds()).toBeGreaterThan(0);
    expect(overheadSeconds()).toBeLessThan((tookMs - heldMs) / 1_000);
  });

  test("of a stream leaves out what the provider took for its chunks", async () => {
    const held = Promise.withResolvers<void>();
    api.upstream.next({ restAfter: held.promise });
    const since = performance.now();
    const chunks = (await tenant.client.chat.completions.create(streamed))[Symbol.asyncIterator]();
    await chunks.next();
    const heldMs = await passTime();
    held.resolve();
    while (!(await chunks.next()).done);
    const tookMs = performance.now() - since;
    expect(overheadSeconds()).toBeGreaterThan(0);
    expect(overheadSeconds()).toBeLessThan((tookMs - heldMs) / 1_000);
  });

  test("of a stream leaves out what its client took to read it", async () => {
    // Few and large, so that the provider is hardly waited for.
    api.upstream.next({ chunkCount: 32, chunkText: "x".repeat(500_000) });
    const client = await rawConnection(api.url);
    const body = JSON.stringify(streamed);
    const since = performance.now();
    client.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    );
    client.socket.pause();
    const upstream = await upstreamRequest();
    // Everything between upstream and client is full when nothing moves any more.
    let sent = -1;
    let still = 0;
    await until(
      () => {
        const before = sent;
        sent = upstream.bytesSent();
        still = sent === before ? still + 1 : 0;
        return sent > 1_000_000 && still === 3;
      },
      10_000,
      10,
    );
    // Long beside all other times, so that it shows where it is counted.
    const longMs = 3 * (performance.now() - since);
    let heldMs = 0;
    while (heldMs < longMs) heldMs += await passTime();
    client.socket.resume();
    await client.closed();
    await nextTurn();
    const tookMs = performance.now() - since;
    expect(client.received).toContain("[DONE]");
    expect(counted(overhead)).toEqual(["chat: 1"]);
    // Not all of it, since on a busy machine something may still have moved.
    expect(overheadSeconds()).toBeLessThan((tookMs - heldMs * 0.8) / 1_000);
  });
});
