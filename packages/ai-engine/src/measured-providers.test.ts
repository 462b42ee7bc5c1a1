// What is measured of real providers: an upstream over HTTP, and the built-in model.
import { EctusError, type Logger } from "@ectus/core";
import { createInstruments, Registry } from "@ectus/monitoring";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Behavior, startUpstream, type Upstream } from "../../../tests/openai-upstream/upstream.ts";
import { countedIn, measuredValue, samplesOf } from "../../../tests/postgres/measured.ts";
import { createProviders } from "./create-providers.ts";
import { createEngine, type Engine } from "./engine.ts";
import { modelForTests } from "./providers/llama-cpp/test-model.ts";
import { builtInModel, defaultProviders } from "./providers-config.ts";
import { parseProviders } from "./providers-file.ts";

const log = { warn() {}, info() {}, debug() {}, error() {} } as unknown as Logger;
const { signal } = new AbortController();
const messages = [{ role: "user" as const, content: "Say hello." }];
const requests = "ai_inference_requests_total";
const errors = "ai_inference_errors_total";

describe("an upstream", () => {
  let upstream: Upstream;
  beforeAll(async () => {
    upstream = await startUpstream();
  });
  afterAll(() => upstream.close());

  async function start() {
    const config = parseProviders(
      `providers:
  up: { type: openai, baseUrl: "${upstream.baseUrl}", retries: 0, timeoutMs: 1000, streamIdleTimeoutMs: 1000 }
models:
  m: { operations: [chat, embeddings], routes: [ { provider: up, model: theirs } ] }
`,
      {},
      "p.yaml",
    );
    const registry = new Registry();
    const instruments = createInstruments(registry);
    const providers = await createProviders({ config, log, instruments });
    const engine = createEngine({ config, providers, log, instruments });
    return { engine, registry, [Symbol.asyncDispose]: () => engine.close() };
  }

  const stream = async (engine: Engine) => {
    const { chunks } = await engine.streamChat({ model: "m", messages }, { signal });
    return Array.fromAsync(chunks);
  };

  test.each<[string, Behavior, string, string]>([
    ["that fails", { status: 500 }, "failed", "upstream_error"],
    ["that refuses our credentials", { status: 401 }, "failed", "upstream_error"],
    ["whose connection breaks", { reset: "before-headers" }, "failed", "upstream_error"],
    ["that does not answer", { hang: "before-headers" }, "failed", "upstream_timeout"],
    ["that refuses the request", { status: 400 }, "rejected", "upstream_rejected"],
    ["that limits its rate", { status: 429 }, "overloaded", "upstream_rate_limited"],
  ])("%s", async (_what, behavior, outcome, reason) => {
    await using started = await start();
    upstream.next(behavior);
    await started.engine.chat({ model: "m", messages }, { signal }).catch(() => {});
    expect(countedIn(started.registry, requests)).toEqual([`up m chat ${outcome}: 1`]);
    expect(countedIn(started.registry, errors)).toEqual([`up m ${reason}: 1`]);
    expect(countedIn(started.registry, "ai_active_sessions")).toEqual([]);
  });

  test.each<[string, Behavior, string, string]>([
    ["that breaks in its stream", { reset: "mid-stream" }, "interrupted", "stream_interrupted"],
    ["that is silent in its stream", { hang: "mid-stream" }, "interrupted", "stream_interrupted"],
    [
      "that sends an error in its stream",
      { errorEvent: { as: "data", message: "no" } },
      "interrupted",
      "stream_interrupted",
    ],
    ["that is silent before its stream", { hang: "after-headers" }, "failed", "upstream_timeout"],
  ])("%s", async (_what, behavior, outcome, reason) => {
    await using started = await start();
    upstream.next(behavior);
    await expect(stream(started.engine)).rejects.toBeInstanceOf(EctusError);
    expect(countedIn(started.registry, requests)).toEqual([`up m chat ${outcome}: 1`]);
    expect(countedIn(started.registry, errors)).toEqual([`up m ${reason}: 1`]);
    expect(countedIn(started.registry, "ai_active_sessions")).toEqual([]);
  });

  test("that answers", async () => {
    await using started = await start();
    const { engine, registry } = started;
    await engine.chat({ model: "m", messages }, { signal });
    await engine.embed({ model: "m", input: "a" }, { signal });
    await stream(engine);
    expect(countedIn(registry, requests)).toEqual(["up m chat completed: 2", "up m embeddings completed: 1"]);
    // The double says 9 tokens of input and 3 of output.
    expect(countedIn(registry, "ai_tokens_total")).toEqual(["m input: 27", "m output: 6"]);
    expect(measuredValue(registry, "ai_time_to_first_token_seconds")).toBe(1);
    expect(measuredValue(registry, "ai_time_per_output_token_seconds")).toBe(1);
    expect(measuredValue(registry, "ai_inference_duration_seconds", { operation: "chat" })).toBe(2);
  });
});

const modelPath = await modelForTests();

describe.skipIf(modelPath === undefined)("the built-in model", () => {
  const registry = new Registry();
  let engine: Engine;
  beforeAll(async () => {
    const config = defaultProviders({ modelPath: modelPath ?? "" });
    const instruments = createInstruments(registry);
    const llamaCpp = { threads: 1 };
    const providers = await createProviders({ config, log, instruments, llamaCpp });
    engine = createEngine({ config, providers, log, instruments });
  });
  afterAll(() => engine.close());

  const request = { model: builtInModel, messages, max_tokens: 8, temperature: 0, seed: 1 };
  const used = () =>
    (["input", "output", "cached"] as const).map((type) =>
      measuredValue(registry, "ai_tokens_total", { type }),
    );
  const finished = (outcome: string) => measuredValue(registry, requests, { operation: "chat", outcome });

  test("is loaded once, and its answers are counted to the token", async () => {
    const { usage } = await engine.chat(request, { signal });
    expect(used()).toEqual([usage?.inputTokens, usage?.outputTokens, usage?.cachedTokens]);
    const loads = samplesOf(registry, "ai_model_load_duration_seconds");
    expect(loads).toMatchObject([{ labels: { model: builtInModel }, value: 1 }]);
    expect(loads[0]?.sum).toBeGreaterThan(0);
    const before = used();
    const { chunks } = await engine.streamChat(request, { signal });
    const last = (await Array.fromAsync(chunks)).at(-1)?.usage;
    const [input = 0, output = 0] = used();
    expect([input - (before[0] ?? 0), output - (before[1] ?? 0)]).toEqual([
      last?.prompt_tokens,
      last?.completion_tokens,
    ]);
    expect(measuredValue(registry, "ai_time_to_first_token_seconds")).toBe(1);
    expect(measuredValue(registry, "ai_time_per_output_token_seconds")).toBe(1);
  });

  test("has used what it made until its client left, in a stream", async () => {
    const [inputBefore = 0, outputBefore = 0] = used();
    const controller = new AbortController();
    const { chunks, usageSoFar } = await engine.streamChat(
      { ...request, max_tokens: 500 },
      { signal: controller.signal },
    );
    let count = 0;
    const reading = (async () => {
      for await (const _chunk of chunks) {
        count += 1;
        // The next token is in the making when it leaves.
        if (count === 3) setImmediate(() => controller.abort());
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: "client_closed_request" });
    expect(finished("client_closed")).toBe(1);
    const [input = 0, output = 0] = used();
    const soFar = usageSoFar();
    expect(soFar?.outputTokens).toBeGreaterThan(0);
    expect([input - inputBefore, output - outputBefore]).toEqual([soFar?.inputTokens, soFar?.outputTokens]);
    expect(countedIn(registry, "ai_active_sessions")).toEqual([]);
  });

  test("refuses what its context does not hold", async () => {
    const long = [{ role: "user" as const, content: "word ".repeat(5_000) }];
    await engine.chat({ ...request, messages: long }, { signal }).catch(() => {});
    expect(finished("rejected")).toBe(1);
    expect(measuredValue(registry, errors, { reason: "context_length_exceeded" })).toBe(1);
  });

  test("makes embeddings", async () => {
    const [inputBefore = 0] = used();
    const { usage } = await engine.embed({ model: builtInModel, input: ["A cat sat."] }, { signal });
    expect((used()[0] ?? 0) - inputBefore).toBe(usage?.inputTokens);
    expect(measuredValue(registry, requests, { operation: "embeddings", outcome: "completed" })).toBe(1);
  });
});
