import { EctusError, type ErrorCode } from "@ectus/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { countedIn, measuredValue, samplesOf } from "../../../tests/postgres/measured.ts";
import { type AskedCall, createTestEngine, type TestEngine, usageOf } from "./test-engine.ts";
import { costUsd } from "./usage.ts";

const requests = "ai_inference_requests_total";
const errors = "ai_inference_errors_total";
const tokens = "ai_tokens_total";
const active = "ai_active_sessions";
const fault = (code: ErrorCode, details = {}) =>
  new EctusError(code, { provider: "x", reason: "of the test", ...details });
const settled = (promise: Promise<unknown>) => promise.catch(() => {});

const last = ({ asked }: TestEngine): AskedCall => asked.at(-1) as AskedCall;

describe("a whole answer", () => {
  test("is counted under who gave it, with its time and its tokens", async () => {
    const engine = createTestEngine();
    const answer = engine.chat("two");
    expect(countedIn(engine.registry, active)).toEqual(["two: 1"]);
    engine.clock.ms += 2_500;
    last(engine).answer({
      ...usageOf(10, 5),
      prompt_tokens_details: { cached_tokens: 4 },
      completion_tokens_details: { reasoning_tokens: 2 },
    });
    expect((await answer).providerMs).toBe(2_500);
    expect(countedIn(engine.registry, requests)).toEqual(["first two chat completed: 1"]);
    expect(samplesOf(engine.registry, "ai_inference_duration_seconds")).toEqual([
      { labels: { provider: "first", model: "two", operation: "chat" }, value: 1, sum: 2.5 },
    ]);
    expect(countedIn(engine.registry, tokens)).toEqual([
      "two cached: 4",
      "two input: 10",
      "two output: 5",
      "two reasoning: 2",
    ]);
    expect(countedIn(engine.registry, "ai_cost_usd_total")).toEqual(["two: 0.0000042"]);
    expect(countedIn(engine.registry, active)).toEqual([]);
    expect(countedIn(engine.registry, errors)).toEqual([]);
  });

  test("of embeddings is counted as such", async () => {
    const engine = createTestEngine();
    const answer = engine.embed();
    engine.clock.ms += 20;
    last(engine).answer(usageOf(8, 0));
    expect((await answer).providerMs).toBe(20);
    expect(countedIn(engine.registry, requests)).toEqual(["first vectors embeddings completed: 1"]);
    expect(measuredValue(engine.registry, tokens, { model: "vectors", type: "input" })).toBe(8);
  });

  test("of a model without a price has no cost, and one of unknown usage no tokens", async () => {
    const engine = createTestEngine();
    const answers = [engine.chat("one"), engine.chat("two")];
    engine.asked[0]?.answer(usageOf(3, 1));
    engine.asked[1]?.answer();
    await Promise.all(answers);
    expect(samplesOf(engine.registry, "ai_cost_usd_total")).toEqual([]);
    expect(samplesOf(engine.registry, tokens).map(({ labels }) => labels.model)).toEqual(
      Array.from({ length: 4 }, () => "one"),
    );
  });
});

describe("a call that brings no answer", () => {
  test.each<[ErrorCode, string, string]>([
    ["upstream_error", "failed", "upstream_error"],
    ["upstream_timeout", "failed", "upstream_timeout"],
    ["model_unavailable", "failed", "model_unavailable"],
    ["stream_interrupted", "failed", "stream_interrupted"],
    ["shutting_down", "failed", "shutting_down"],
    ["upstream_rejected", "rejected", "upstream_rejected"],
    ["context_length_exceeded", "rejected", "context_length_exceeded"],
    ["invalid_request", "rejected", "invalid_request"],
    ["upstream_rate_limited", "overloaded", "upstream_rate_limited"],
    ["overloaded", "overloaded", "overloaded"],
    ["internal_error", "failed", "internal_error"],
  ])("because of %s is %s", async (code, outcome, reason) => {
    const engine = createTestEngine();
    const answer = settled(engine.chat());
    last(engine).fail(fault(code));
    await answer;
    expect(countedIn(engine.registry, requests)).toEqual([`first one chat ${outcome}: 1`]);
    expect(countedIn(engine.registry, errors)).toEqual([`first one ${reason}: 1`]);
    expect(countedIn(engine.registry, active)).toEqual([]);
    expect(samplesOf(engine.registry, "ai_inference_duration_seconds")).toEqual([]);
  });

  test("because of a fault in a provider's code is failed", async () => {
    const engine = createTestEngine();
    const answer = settled(engine.chat());
    last(engine).fail(new TypeError("fault"));
    await answer;
    expect(countedIn(engine.registry, requests)).toEqual(["first one chat failed: 1"]);
    expect(countedIn(engine.registry, errors)).toEqual(["first one internal_error: 1"]);
  });

  test("for a model that does something else is rejected, and nobody was asked", async () => {
    const engine = createTestEngine();
    await settled(engine.embed("one"));
    expect(countedIn(engine.registry, requests)).toEqual(["none one embeddings rejected: 1"]);
    expect(countedIn(engine.registry, active)).toEqual([]);
  });

  test("for a model that does not exist makes no series of the client's text", async () => {
    const engine = createTestEngine();
    await settled(engine.chat("what the client wrote"));
    const models = engine.registry
      .getMetricsAsArray()
      .flatMap(({ name }) => samplesOf(engine.registry, name).map(({ labels }) => labels.model));
    expect(new Set(models)).toEqual(new Set(["one", "two", "vectors", undefined]));
  });

  test("whose client left is its client's, with the tokens that the provider had counted", async () => {
    const engine = createTestEngine();
    const controller = new AbortController();
    const answer = settled(engine.chat("two", controller.signal));
    controller.abort();
    await answer;
    expect(countedIn(engine.registry, requests)).toEqual(["first two chat client_closed: 1"]);
    expect(countedIn(engine.registry, errors)).toEqual([]);
    expect(countedIn(engine.registry, tokens)).toEqual(["two input: 7", "two output: 1"]);
    expect(countedIn(engine.registry, active)).toEqual([]);
  });

  test("whose client left before its turn asked nobody", async () => {
    const engine = createTestEngine();
    await settled(engine.chat("two", AbortSignal.abort()));
    expect(countedIn(engine.registry, requests)).toEqual(["none two chat client_closed: 1"]);
  });

  test("that this server cut is failed", async () => {
    const engine = createTestEngine();
    const controller = new AbortController();
    const answer = settled(engine.chat("two", controller.signal));
    controller.abort(new EctusError("shutting_down"));
    await answer;
    expect(countedIn(engine.registry, requests)).toEqual(["first two chat failed: 1"]);
  });
});

describe("routes", () => {
  test("that failed are counted each, and the call under the one that answered", async () => {
    const engine = createTestEngine();
    const answer = engine.chat("two");
    engine.clock.ms += 100;
    last(engine).fail(fault("upstream_timeout"));
    await expect.poll(() => engine.asked.length).toBe(2);
    engine.clock.ms += 200;
    last(engine).answer(usageOf(1, 1));
    expect((await answer).providerMs).toBe(300);
    expect(countedIn(engine.registry, errors)).toEqual(["first two upstream_timeout: 1"]);
    expect(countedIn(engine.registry, requests)).toEqual(["second two chat completed: 1"]);
    expect(measuredValue(engine.registry, "ai_inference_duration_seconds", { provider: "second" })).toBe(1);
  });

  test("that all failed are counted each, and the call under the last", async () => {
    const engine = createTestEngine();
    const answer = settled(engine.chat("two"));
    last(engine).fail(fault("upstream_rate_limited"));
    await expect.poll(() => engine.asked.length).toBe(2);
    last(engine).fail(fault("upstream_error"));
    await answer;
    expect(countedIn(engine.registry, errors)).toEqual([
      "first two upstream_rate_limited: 1",
      "second two upstream_error: 1",
    ]);
    expect(countedIn(engine.registry, requests)).toEqual(["second two chat failed: 1"]);
  });

  const circuit = {
    consecutiveFailures: 1,
    failureRatio: 1,
    minimumCalls: 100,
    windowMs: 1000,
    coolDownMs: 5000,
  };

  test("with an open circuit are passed over, which is a failure and no overload", async () => {
    const engine = createTestEngine({ circuit });
    const state = () => measuredValue(engine.registry, "ai_provider_circuit_state", { provider: "first" });
    expect(countedIn(engine.registry, "ai_provider_circuit_state")).toEqual([]);
    expect(samplesOf(engine.registry, "ai_provider_circuit_state")).toHaveLength(2);
    const failed = settled(engine.chat());
    last(engine).fail(fault("upstream_error"));
    await failed;
    expect(state()).toBe(2);
    await settled(engine.chat());
    expect(countedIn(engine.registry, requests)).toEqual([
      "first one chat failed: 1",
      "none one chat failed: 1",
    ]);
    expect(countedIn(engine.registry, errors)).toEqual([
      "first one circuit_open: 1",
      "first one upstream_error: 1",
    ]);
    engine.clock.ms += 5000;
    expect(state()).toBe(1);
    const mended = engine.chat();
    last(engine).answer();
    await mended;
    expect(state()).toBe(0);
  });

  test("whose circuit opened while a call waited for its turn are passed over, too", async () => {
    const engine = createTestEngine({ circuit, maxConcurrent: 1 });
    const calls = [settled(engine.chat()), settled(engine.chat())];
    last(engine).fail(fault("upstream_error"));
    await Promise.all(calls);
    expect(countedIn(engine.registry, errors)).toEqual([
      "first one circuit_open: 1",
      "first one upstream_error: 1",
    ]);
    expect(countedIn(engine.registry, active)).toEqual([]);
  });

  test("without room are passed over as overloaded, and the call is under way all the while", async () => {
    const engine = createTestEngine({ maxConcurrent: 1, queue: 1, maxQueueWaitMs: 20 });
    const first = engine.chat();
    const waiting = settled(engine.chat());
    expect(countedIn(engine.registry, active)).toEqual(["one: 2"]);
    await settled(engine.chat());
    expect(countedIn(engine.registry, active)).toEqual(["one: 2"]);
    await waiting;
    expect(countedIn(engine.registry, active)).toEqual(["one: 1"]);
    last(engine).answer();
    await first;
    expect(countedIn(engine.registry, requests)).toEqual([
      "first one chat completed: 1",
      "none one chat overloaded: 2",
    ]);
    expect(countedIn(engine.registry, errors)).toEqual(["first one overloaded: 2"]);
    expect(countedIn(engine.registry, active)).toEqual([]);
  });

  test("that calls wait for count as time of the provider", async () => {
    const engine = createTestEngine({ maxConcurrent: 1 });
    const first = engine.chat();
    const second = engine.chat();
    engine.clock.ms += 250;
    engine.asked[0]?.answer();
    await first;
    await expect.poll(() => engine.asked.length).toBe(2);
    engine.clock.ms += 200;
    engine.asked[1]?.answer();
    expect((await second).providerMs).toBe(450);
    expect(samplesOf(engine.registry, "ai_inference_duration_seconds")).toMatchObject([
      { value: 2, sum: 0.7 },
    ]);
  });
});

test("what is done before anything can be waited for is no wait", async () => {
  const engine = createTestEngine({ preparingMs: 40 });
  const answer = engine.chat();
  engine.clock.ms += 200;
  last(engine).answer();
  expect((await answer).providerMs).toBe(200);
  expect(samplesOf(engine.registry, "ai_inference_duration_seconds")).toMatchObject([{ sum: 0.24 }]);
});

test("the routes of the configuration have counters before their first call", () => {
  const { registry } = createTestEngine();
  expect(
    samplesOf(registry, requests)
      .map(({ labels }) => Object.values(labels).join(" "))
      .sort(),
  ).toEqual([
    "first one chat completed",
    "first one chat failed",
    "first two chat completed",
    "first two chat failed",
    "first vectors embeddings completed",
    "first vectors embeddings failed",
    "second two chat completed",
    "second two chat failed",
  ]);
});

test("costs add up exactly, however many and small they are, and never go down", async () => {
  const count = fc.nat(5_000_000);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(count, count, count), { maxLength: 300 }), async (usages) => {
      const engine = createTestEngine();
      const price = engine.config.models.get("two")?.price;
      let picodollars = 0n;
      let before = 0;
      for (const [inputTokens, outputTokens, cachedTokens] of usages) {
        const answer = engine.chat("two");
        last(engine).answer({
          ...usageOf(inputTokens, outputTokens),
          prompt_tokens_details: { cached_tokens: cachedTokens },
        });
        const { usage } = await answer;
        const [whole = "", decimals = ""] = String(costUsd(price, usage)).split(".");
        picodollars += BigInt(whole) * 10n ** 12n + BigInt(decimals.padEnd(12, "0"));
        const shown = measuredValue(engine.registry, "ai_cost_usd_total");
        expect(shown).toBeGreaterThanOrEqual(before);
        before = shown;
      }
      // One unit in the last place of a double.
      expect(Math.abs(before - Number(picodollars) / 1e12)).toBeLessThanOrEqual(before * Number.EPSILON);
    }),
    { numRuns: 20 },
  );
});

test("without instruments nothing is counted and no clock is read", async () => {
  const engine = createTestEngine({ measured: false });
  const answer = engine.chat();
  last(engine).answer(usageOf(1, 1));
  expect((await answer).providerMs).toBe(0);
  const streaming = engine.stream();
  const stream = last(engine).stream();
  stream.end();
  const { chunks, providerMs } = await streaming;
  expect(await Array.fromAsync(chunks)).toEqual([]);
  expect(providerMs()).toBe(0);
  expect(engine.clock.reads).toBe(0);
  expect(engine.registry.getMetricsAsArray()).toEqual([]);
});
