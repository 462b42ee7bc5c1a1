import { EctusError, runInContext } from "@ectus/core";
import { describe, expect, test } from "vitest";
import { countedIn, exemplarsOf, samplesOf } from "../../../tests/postgres/measured.ts";
import type { ChatCompletionChunk } from "./chat.ts";
import type { ChatStreamResult } from "./engine.ts";
import { type AskedCall, chunkOf, createTestEngine, type ScriptedStream, usageOf } from "./test-engine.ts";

const role = chunkOf({ role: "assistant", content: "" });
const text = chunkOf({ content: "x" });
const lastChunk: ChatCompletionChunk = { ...chunkOf({}), choices: [], usage: usageOf(10, 5) };
const broken = new EctusError("stream_interrupted", { provider: "first", reason: "of the test" });

async function startStream({ counts = false, model = "two" } = {}) {
  const engine = createTestEngine();
  const controller = new AbortController();
  const starting = engine.stream(model, controller.signal);
  engine.clock.ms += 100;
  const source: ScriptedStream = (engine.asked[0] as AskedCall).stream(counts ? usageOf(7, 1) : undefined);
  const result: ChatStreamResult = await starting;
  const reader = result.chunks[Symbol.asyncIterator]();
  return { ...engine, controller, source, result, reader, counted: countedOf(engine.registry) };
}

const countedOf = (registry: Parameters<typeof countedIn>[0]) => (name: string) => countedIn(registry, name);
const requests = "ai_inference_requests_total";
const tokens = "ai_tokens_total";
const active = "ai_active_sessions";

describe("a stream", () => {
  test("is counted when it has ended, with the times of its tokens", async () => {
    const { clock, source, result, reader, registry, counted } = await startStream();
    source.push(role);
    await reader.next();
    clock.ms += 200;
    source.push(text);
    await reader.next();
    expect(counted(active)).toEqual(["two: 1"]);
    expect(counted(requests)).toEqual([]);
    clock.ms += 600;
    for (const chunk of [text, lastChunk]) source.push(chunk);
    source.end();
    while (!(await reader.next()).done) expect(counted(tokens)).toEqual([]);

    expect(counted(requests)).toEqual(["first two chat completed: 1"]);
    expect(counted(active)).toEqual([]);
    expect(counted(tokens)).toEqual(["two input: 10", "two output: 5"]);
    const labels = { provider: "first", model: "two" };
    expect(samplesOf(registry, "ai_time_to_first_token_seconds")).toEqual([{ labels, value: 1, sum: 0.3 }]);
    // 600 ms for the four tokens after the first.
    expect(samplesOf(registry, "ai_time_per_output_token_seconds")).toEqual([
      { labels, value: 1, sum: 0.15 },
    ]);
    expect(samplesOf(registry, "ai_inference_duration_seconds")).toMatchObject([{ value: 1, sum: 0.9 }]);
    expect(result.usageSoFar()).toBeNull();
  });

  test("waits for its provider while a chunk is not there yet, and not while its reader does something else", async () => {
    const { clock, source, result, reader } = await startStream();
    expect(result.providerMs()).toBe(100);
    source.push(text);
    clock.ms += 1_000;
    await reader.next();
    expect(result.providerMs()).toBe(100);
    const waiting = reader.next();
    clock.ms += 30;
    source.push(text);
    await waiting;
    expect(result.providerMs()).toBe(130);
    clock.ms += 1_000;
    source.end();
    await reader.next();
    expect(result.providerMs()).toBe(130);
  });

  test.each([
    ["a thought", { reasoning_content: "x" }],
    ["a thought in another field", { reasoning: "x" }],
    ["a tool call", { tool_calls: [{ index: 0 }] }],
    ["a refusal", { refusal: "x" }],
  ])("has its first token with %s", async (_what, delta) => {
    const { source, reader, registry } = await startStream();
    for (const chunk of [role, chunkOf({ role: "assistant", content: null, tool_calls: [] })])
      source.push(chunk);
    await reader.next();
    await reader.next();
    expect(samplesOf(registry, "ai_time_to_first_token_seconds")).toEqual([]);
    source.push(chunkOf(delta));
    await reader.next();
    expect(samplesOf(registry, "ai_time_to_first_token_seconds")).toMatchObject([{ value: 1, sum: 0.1 }]);
  });

  test("may bring choices without anything in them", async () => {
    const { source, reader } = await startStream();
    const odd = { ...text, choices: [{ index: 0, finish_reason: null }] } as unknown as ChatCompletionChunk;
    source.push(odd);
    expect((await reader.next()).value).toBe(odd);
  });

  test.each([
    ["one token", [text, { ...lastChunk, usage: usageOf(10, 1) }]],
    ["an unknown usage", [text]],
    ["no token at all", [role, { ...lastChunk, usage: usageOf(10, 0) }]],
  ])("with %s has no time per token", async (_what, chunks) => {
    const { source, reader, registry, counted } = await startStream();
    for (const chunk of chunks) source.push(chunk);
    source.end();
    while (!(await reader.next()).done);
    expect(counted(requests)).toEqual(["first two chat completed: 1"]);
    expect(samplesOf(registry, "ai_time_per_output_token_seconds")).toEqual([]);
  });

  test("that breaks is interrupted, and a failure of its provider", async () => {
    const { source, reader, registry, counted } = await startStream();
    source.push(text);
    source.fail(broken);
    await reader.next();
    await expect(reader.next()).rejects.toBe(broken);
    expect(counted(requests)).toEqual(["first two chat interrupted: 1"]);
    expect(counted("ai_inference_errors_total")).toEqual(["first two stream_interrupted: 1"]);
    expect(counted(active)).toEqual([]);
    expect(samplesOf(registry, "ai_inference_duration_seconds")).toEqual([]);
    expect(samplesOf(registry, "ai_time_to_first_token_seconds")).toHaveLength(1);
  });

  test("that breaks after its usage has used that", async () => {
    const { source, reader, counted } = await startStream();
    source.push(lastChunk);
    source.fail(broken);
    await reader.next();
    await reader.next().catch(() => {});
    expect(counted(tokens)).toEqual(["two input: 10", "two output: 5"]);
  });

  test("that its reader gives up is interrupted, and nobody's failure", async () => {
    const { source, reader, counted } = await startStream({ counts: true });
    source.push(text);
    await reader.next();
    await reader.return?.();
    await reader.return?.();
    expect(counted(requests)).toEqual(["first two chat interrupted: 1"]);
    expect(counted("ai_inference_errors_total")).toEqual([]);
    expect(counted(tokens)).toEqual(["two input: 7", "two output: 2"]);
    expect(counted(active)).toEqual([]);
  });

  test("whose client leaves while a token is made has used that token", async () => {
    const { controller, source, reader, result, counted } = await startStream({ counts: true });
    source.push(text);
    await reader.next();
    const waiting = reader.next();
    controller.abort();
    // The slot is free at once, but what was used is not known before the provider stopped.
    expect(counted(requests)).toEqual(["first two chat client_closed: 1"]);
    expect(counted(active)).toEqual([]);
    expect(counted(tokens)).toEqual([]);
    await expect(waiting).rejects.toMatchObject({ code: "client_closed_request" });
    expect(result.usageSoFar()).toMatchObject({ inputTokens: 7, outputTokens: 3 });
    expect(counted(tokens)).toEqual(["two input: 7", "two output: 3"]);
    await reader.return?.();
    expect(counted(tokens)).toEqual(["two input: 7", "two output: 3"]);
    expect(counted("ai_inference_errors_total")).toEqual([]);
  });

  test("that nobody reads is counted when its client leaves", async () => {
    const { controller, counted } = await startStream({ counts: true });
    controller.abort();
    expect(counted(requests)).toEqual(["first two chat client_closed: 1"]);
    expect(counted(tokens)).toEqual(["two input: 7", "two output: 1"]);
    expect(counted(active)).toEqual([]);
  });

  test("that this server cuts is interrupted", async () => {
    const { controller, counted } = await startStream();
    controller.abort(new EctusError("shutting_down"));
    expect(counted(requests)).toEqual(["first two chat interrupted: 1"]);
  });
});

test("a call within a kept trace leads to it, by its time and that of its first token", async () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const engine = createTestEngine();
  const span = {
    traceId,
    spanId: "b7ad6b7169203331",
    isKept: true,
    traceparent: `00-${traceId}-b7ad6b7169203331-01`,
    tracestate: undefined,
  };
  const context = { correlationId: "c", requestId: "r", span };
  await runInContext(context, async () => {
    const starting = engine.stream();
    const source = (engine.asked[0] as AskedCall).stream();
    source.push(text);
    source.end();
    await Array.fromAsync((await starting).chunks);
  });
  expect(exemplarsOf(engine.registry, "ai_inference_duration_seconds")).toEqual([{ trace_id: traceId }]);
  expect(exemplarsOf(engine.registry, "ai_time_to_first_token_seconds")).toEqual([{ trace_id: traceId }]);
  const answer = engine.chat();
  engine.asked[1]?.answer();
  await answer;
  expect(exemplarsOf(engine.registry, "ai_inference_duration_seconds")).toHaveLength(1);
});
