import { currentContext, EctusError, type ErrorCode, type Logger } from "@ectus/core";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { drawTree, inTrace } from "../../../tests/monitoring/in-trace.ts";
import { type RecordedTraces, recordTraces } from "../../../tests/monitoring/recorded-traces.ts";
import { exemplarsOf } from "../../../tests/postgres/measured.ts";
import type { ChatChoice, ChatCompletionChunk, ChatRequest } from "./chat.ts";
import { type AskedCall, chunkOf, createTestEngine, type TestEngine, usageOf } from "./test-engine.ts";

const text = chunkOf({ content: "x" });
const role = chunkOf({ role: "assistant", content: "" });
const fault = (code: ErrorCode) => new EctusError(code, { provider: "first", reason: "of the test" });
const settled = (promise: Promise<unknown>) => promise.catch(() => {});
const last = ({ asked }: TestEngine): AskedCall => asked.at(-1) as AskedCall;
const { signal } = new AbortController();
type ReadableSpan = Awaited<ReturnType<RecordedTraces["spans"]>>[number];

let traces: RecordedTraces;
beforeEach(() => {
  traces = recordTraces();
});

async function spanOf(name: string, recorded = traces): Promise<ReadableSpan> {
  const found = (await recorded.spans()).filter((span) => span.name === name);
  expect(found).toHaveLength(1);
  return found[0] as ReadableSpan;
}

const eventsOf = ({ events }: ReadableSpan) =>
  events.map(({ name, attributes }) => ({ name, ...attributes }));

/** What every call of `two` says that its first provider answered or was asked last. */
const ofTwo = {
  "gen_ai.operation.name": "chat",
  "gen_ai.provider.name": "first",
  "gen_ai.request.model": "two",
  "ectus.provider": "first",
};

describe("a whole answer", () => {
  test("is a span with what was asked for and what was used", async () => {
    const engine = createTestEngine();
    const request: ChatRequest = {
      model: "two",
      messages: [{ role: "user", content: "Hi" }],
      max_completion_tokens: 50,
      max_tokens: 60,
      temperature: 0.5,
      top_p: 0.25,
      n: 2,
      stop: ["a stop"],
      user: "a user",
      metadata: { key: "a value" },
    };
    await inTrace(traces, async () => {
      const answer = engine.engine.chat(request, { signal });
      last(engine).answer({
        ...usageOf(10, 5),
        prompt_tokens_details: { cached_tokens: 4 },
        completion_tokens_details: { reasoning_tokens: 2 },
      });
      await answer;
    });
    const span = await spanOf("ai.chat");
    expect(span.kind).toBe(SpanKind.CLIENT);
    expect(span.status).toEqual({ code: SpanStatusCode.UNSET });
    expect(span.events).toEqual([]);
    expect(span.attributes).toEqual({
      ...ofTwo,
      "ectus.outcome": "completed",
      "gen_ai.request.max_tokens": 50,
      "gen_ai.request.temperature": 0.5,
      "gen_ai.request.top_p": 0.25,
      "gen_ai.request.choice.count": 2,
      "gen_ai.response.model": "theirs",
      "gen_ai.response.finish_reasons": ["stop"],
      "gen_ai.usage.input_tokens": 10,
      "gen_ai.usage.output_tokens": 5,
      "gen_ai.usage.cache_read.input_tokens": 4,
      "gen_ai.usage.reasoning.output_tokens": 2,
    });
    expect(drawTree(await traces.spans())).toEqual(["request", "  ai.chat"]);
  });

  test("of embeddings has no tokens of an answer", async () => {
    const engine = createTestEngine();
    await inTrace(traces, async () => {
      const answer = engine.embed();
      last(engine).answer(usageOf(8, 0));
      await answer;
    });
    expect((await spanOf("ai.embeddings")).attributes).toEqual({
      "gen_ai.operation.name": "embeddings",
      "gen_ai.provider.name": "first",
      "gen_ai.request.model": "vectors",
      "gen_ai.response.model": "theirs",
      "gen_ai.usage.input_tokens": 8,
      "ectus.provider": "first",
      "ectus.outcome": "completed",
    });
  });

  test("is recorded without instruments, too, and outside of a trace not at all", async () => {
    const engine = createTestEngine({ measured: false });
    const ask = async () => {
      const answer = engine.chat("two");
      last(engine).answer(usageOf(1, 1));
      await answer;
    };
    await ask();
    await inTrace(traces, ask);
    expect((await traces.spans()).map(({ name }) => name).sort()).toEqual(["ai.chat", "request"]);
    expect(engine.clock.reads).toBe(0);
  });
});

describe("a stream", () => {
  async function readStream(chunks: readonly ChatCompletionChunk[], error?: unknown): Promise<TestEngine> {
    const engine = createTestEngine();
    await inTrace(traces, async () => {
      const starting = engine.stream("two");
      const source = last(engine).stream();
      for (const chunk of chunks) source.push(chunk);
      if (error === undefined) source.end();
      else source.fail(error);
      await settled(Array.fromAsync((await starting).chunks));
    });
    return engine;
  }

  test("is over when it was read, and says when its first token came", async () => {
    const finish = { ...text, choices: [{ index: 0, delta: {}, finish_reason: "length" as const }] };
    const engine = await readStream([
      role,
      text,
      text,
      finish,
      { ...text, choices: [], usage: usageOf(7, 3) },
    ]);
    const span = await spanOf("ai.chat");
    for (const name of [
      "ai_time_to_first_token_seconds",
      "ai_time_per_output_token_seconds",
      "ai_inference_duration_seconds",
    ] as const)
      expect(exemplarsOf(engine.registry, name), name).toEqual([{ trace_id: span.spanContext().traceId }]);
    const { "gen_ai.response.time_to_first_chunk": firstChunk, ...attributes } = span.attributes;
    expect(firstChunk).toBeTypeOf("number");
    expect(attributes).toEqual({
      ...ofTwo,
      "ectus.outcome": "completed",
      "gen_ai.request.stream": true,
      "gen_ai.response.model": "theirs",
      "gen_ai.response.finish_reasons": ["length"],
      "gen_ai.usage.input_tokens": 7,
      "gen_ai.usage.output_tokens": 3,
    });
    expect(eventsOf(span)).toEqual([{ name: "gen_ai.first_token" }]);
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
  });

  test("that breaks is an error, whose trace is kept", async () => {
    traces = recordTraces(0);
    const engine = await readStream([text], fault("stream_interrupted"));
    const span = await spanOf("ai.chat");
    expect(span.attributes).toMatchObject({
      "ectus.outcome": "interrupted",
      "error.type": "stream_interrupted",
      "gen_ai.response.model": "theirs",
    });
    expect(span.status).toEqual({ code: SpanStatusCode.ERROR });
    expect(exemplarsOf(engine.registry, "ai_inference_errors_total")).toEqual([
      { trace_id: span.spanContext().traceId },
    ]);
  });

  test("whose client leaves is no error, and is over when its provider is", async () => {
    const engine = createTestEngine();
    const controller = new AbortController();
    await inTrace(traces, async () => {
      const starting = engine.stream("two", controller.signal);
      const source = last(engine).stream(usageOf(7, 1));
      const reader = (await starting).chunks[Symbol.asyncIterator]();
      source.push(text);
      await reader.next();
      const waiting = settled(reader.next());
      controller.abort();
      await waiting;
    });
    const span = await spanOf("ai.chat");
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
    expect(span.attributes).toMatchObject({
      "ectus.outcome": "client_closed",
      "gen_ai.usage.input_tokens": 7,
      "gen_ai.usage.output_tokens": 3,
    });
    expect(span.attributes).not.toHaveProperty("error.type");
  });

  test("has one span that ends once, whatever its reader, its provider and its client do in which order", async () => {
    type Step = "next" | "return" | "abort" | "push" | "end" | "fail";
    const step = fc.constantFrom<Step>("next", "return", "abort", "push", "end", "fail");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        const recorded = recordTraces();
        const engine = createTestEngine();
        const controller = new AbortController();
        await inTrace(recorded, async () => {
          const starting = engine.stream("two", controller.signal);
          const source = last(engine).stream();
          const { chunks } = await starting;
          const reader = chunks[Symbol.asyncIterator]();
          let reading: Promise<void> | undefined;
          const read = async (): Promise<void> => {
            await settled(reader.next());
            reading = undefined;
          };
          for (const what of [...steps, "abort" as const]) {
            if (what === "next") {
              // One at a time, as all readers do.
              reading ??= read();
            } else if (what === "return") await reader.return?.();
            else if (what === "abort") controller.abort();
            else if (what === "push") source.push(text);
            else if (what === "end") source.end();
            else source.fail(fault("stream_interrupted"));
            await Promise.resolve();
          }
          await reading;
        });
        const names = (await recorded.spans()).map(({ name }) => name);
        expect(names.toSorted()).toEqual(["ai.chat", "request"]);
      }),
      { numRuns: 200 },
    );
  });

  test.each([
    ["its reader gives up", undefined, "stream_interrupted"],
    ["this server cuts", new EctusError("shutting_down"), "shutting_down"],
  ])("that %s is interrupted, and nobody's failure", async (_what, reason, errorType) => {
    traces = recordTraces(0);
    const engine = createTestEngine();
    const controller = new AbortController();
    await inTrace(traces, async () => {
      const starting = engine.stream("two", controller.signal);
      last(engine).stream();
      const reader = (await starting).chunks[Symbol.asyncIterator]();
      if (reason === undefined) await reader.return?.();
      else controller.abort(reason);
    });
    expect(await traces.spans()).toEqual([]);
    traces = recordTraces();
    await inTrace(traces, async () => {
      const again = new AbortController();
      const starting = engine.stream("two", again.signal);
      last(engine).stream();
      const reader = (await starting).chunks[Symbol.asyncIterator]();
      if (reason === undefined) await reader.return?.();
      else again.abort(reason);
    });
    const span = await spanOf("ai.chat");
    expect(span.attributes).toMatchObject({ "ectus.outcome": "interrupted", "error.type": errorType });
    expect(span.status.code).toBe(SpanStatusCode.ERROR);
  });
});

describe("a call that brings no answer", () => {
  const { ERROR, UNSET } = SpanStatusCode;
  test.each<[ErrorCode, string, SpanStatusCode, boolean]>([
    ["upstream_error", "failed", ERROR, true],
    ["upstream_timeout", "failed", ERROR, true],
    ["model_unavailable", "failed", ERROR, true],
    ["shutting_down", "failed", ERROR, false],
    ["upstream_rate_limited", "overloaded", ERROR, false],
    ["overloaded", "overloaded", ERROR, false],
    ["upstream_rejected", "rejected", UNSET, false],
    ["context_length_exceeded", "rejected", UNSET, false],
    ["invalid_request", "rejected", UNSET, false],
  ])("because of %s is %s", async (code, outcome, status, kept) => {
    const seldom = recordTraces(0);
    for (const recorded of [traces, seldom]) {
      const engine = createTestEngine();
      await inTrace(recorded, async () => {
        const answer = settled(engine.chat());
        last(engine).fail(fault(code));
        await answer;
      });
    }
    const span = await spanOf("ai.chat");
    expect(span.attributes).toEqual({
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "first",
      "gen_ai.request.model": "one",
      "ectus.provider": "first",
      "ectus.outcome": outcome,
      "error.type": code,
    });
    expect(span.status).toEqual({ code: status });
    expect(await seldom.spans()).toHaveLength(kept ? 2 : 0);
  });

  test("because of a fault in a provider's code says the name of its error, without its text", async () => {
    const engine = createTestEngine();
    await inTrace(traces, async () => {
      const answer = settled(engine.chat());
      last(engine).fail(new TypeError("a secret text"));
      await answer;
    });
    const span = await spanOf("ai.chat");
    expect(span.attributes["error.type"]).toBe("TypeError");
    expect(JSON.stringify([span.attributes, span.events, span.status])).not.toContain("secret");
  });

  test("because a provider throws at once is over, too", async () => {
    const provider = {
      name: "first",
      chat() {
        throw new TypeError("of the test");
      },
    };
    const engine = createTestEngine({
      providers: new Map(["first", "second"].map((name) => [name, provider as never])),
    });
    await inTrace(traces, () => settled(engine.chat()));
    expect((await spanOf("ai.chat")).attributes["error.type"]).toBe("TypeError");
  });

  test("whose client left is no error, and says what was used", async () => {
    const engine = createTestEngine();
    const controller = new AbortController();
    await inTrace(traces, async () => {
      const answer = settled(engine.chat("two", controller.signal));
      controller.abort();
      await answer;
    });
    const span = await spanOf("ai.chat");
    expect(span.attributes).toEqual({
      ...ofTwo,
      "ectus.outcome": "client_closed",
      "gen_ai.usage.input_tokens": 7,
      "gen_ai.usage.output_tokens": 1,
    });
    expect(span.status.code).toBe(UNSET);
    expect(span.events).toEqual([]);
  });

  test("that asked nobody says no provider that it was", async () => {
    const engine = createTestEngine();
    await inTrace(traces, () => settled(engine.embed("one")));
    const span = await spanOf("ai.embeddings");
    expect(span.attributes).not.toHaveProperty("ectus.provider");
    expect(span.attributes["error.type"]).toBe("unsupported_operation");
  });

  test("for a model that does not exist has no span", async () => {
    const engine = createTestEngine();
    await inTrace(traces, () => settled(engine.chat("what the client wrote")));
    expect(drawTree(await traces.spans())).toEqual(["request"]);
  });
});

describe("routes", () => {
  const failFirst = async (engine: TestEngine) => {
    const answer = engine.chat("two");
    last(engine).fail(fault("upstream_timeout"));
    await expect.poll(() => engine.asked.length).toBe(2);
    last(engine).answer(usageOf(1, 1));
    await answer;
  };

  test("that failed are events, and the trace is kept before anything is counted", async () => {
    traces = recordTraces(0);
    const engine = createTestEngine();
    await inTrace(traces, () => failFirst(engine));
    const span = await spanOf("ai.chat");
    expect(eventsOf(span)).toEqual([
      { name: "ectus.provider_failed", "ectus.provider": "first", "error.type": "upstream_timeout" },
    ]);
    expect(span.attributes).toMatchObject({
      "ectus.provider": "second",
      "ectus.outcome": "completed",
      "gen_ai.provider.name": "second",
      "gen_ai.response.model": "others",
    });
    expect(span.status.code).toBe(SpanStatusCode.UNSET);
    const exemplar = { trace_id: span.spanContext().traceId };
    expect(exemplarsOf(engine.registry, "ai_inference_errors_total")).toEqual([exemplar]);
    expect(exemplarsOf(engine.registry, "ai_inference_duration_seconds")).toEqual([exemplar]);
  });

  test("that are passed over are events, and keep no trace", async () => {
    const circuit = {
      consecutiveFailures: 1,
      failureRatio: 1,
      minimumCalls: 100,
      windowMs: 1000,
      coolDownMs: 5000,
    };
    const engine = createTestEngine({ circuit });
    await failFirst(engine);
    const ask = async () => {
      const answer = engine.chat("two");
      last(engine).answer();
      await answer;
    };
    const seldom = recordTraces(0);
    await inTrace(seldom, ask);
    expect(await seldom.spans()).toEqual([]);
    await inTrace(traces, ask);
    expect(eventsOf(await spanOf("ai.chat"))).toEqual([
      { name: "ectus.provider_passed_over", "ectus.provider": "first", "ectus.reason": "circuit_open" },
    ]);
  });

  test("whose circuit changes are logged with the ids of the call that did it, and of none if time did", async () => {
    const logged: unknown[] = [];
    const warn = ({ circuit }: { readonly circuit?: string }): void => {
      if (circuit !== undefined) logged.push([circuit, currentContext()?.requestId]);
    };
    const engine = createTestEngine({
      circuit: {
        consecutiveFailures: 1,
        failureRatio: 1,
        minimumCalls: 100,
        windowMs: 1000,
        coolDownMs: 5000,
      },
      log: { warn } as unknown as Logger,
    });
    const ask = async (end: (call: AskedCall) => void) => {
      const answer = settled(engine.chat());
      end(last(engine));
      await answer;
    };
    await inTrace(traces, () => ask((call) => call.fail(fault("upstream_error"))), "first");
    engine.clock.ms += 5000;
    await inTrace(traces, () => ask((call) => call.answer()), "second");
    expect(logged).toEqual([
      ["open", "first"],
      ["half-open", undefined],
      ["closed", "second"],
    ]);
  });

  test("that calls wait for have spans of the wait, also when it is in vain", async () => {
    const engine = createTestEngine({ maxConcurrent: 1, queue: 1, maxQueueWaitMs: 20 });
    const running = engine.chat();
    await inTrace(traces, () => settled(engine.chat()));
    const spans = await traces.spans();
    expect(drawTree(spans)).toEqual(["request", "  ai.chat", "    ai.queue"]);
    expect((await spanOf("ai.queue")).attributes).toEqual({ "ectus.provider": "first" });
    expect(eventsOf(await spanOf("ai.chat"))).toEqual([
      { name: "ectus.provider_passed_over", "ectus.provider": "first", "ectus.reason": "overloaded" },
    ]);
    last(engine).answer();
    await running;
  });
});

describe("what is not as it should be", () => {
  test("in a request is left out", async () => {
    const wrong = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.constant(Number.NaN),
      fc.constant(Number.POSITIVE_INFINITY),
      fc.object(),
      fc.constant(null),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(wrong, { minLength: 4, maxLength: 4 }), async (values) => {
        const recorded = recordTraces();
        const engine = createTestEngine();
        const [max_tokens, temperature, top_p, n] = values;
        const request = { model: "one", messages: [], max_tokens, temperature, top_p, n } as never;
        await inTrace(recorded, async () => {
          const answer = engine.engine.chat(request, { signal });
          last(engine).answer();
          await answer;
        });
        const { attributes } = await spanOf("ai.chat", recorded);
        const names = Object.keys(attributes).filter((name) => name.startsWith("gen_ai.request."));
        expect(names).toEqual(["gen_ai.request.model"]);
      }),
      { numRuns: 30 },
    );
  });

  test.each([0.5, -1, 2 ** 53, Number.NaN])("in a count of a request is left out: %d", async (count) => {
    const engine = createTestEngine();
    await inTrace(traces, async () => {
      const request = { model: "one", messages: [], max_tokens: count, n: count };
      const answer = engine.engine.chat(request, { signal });
      last(engine).answer();
      await answer;
    });
    const { attributes } = await spanOf("ai.chat");
    expect(attributes).not.toHaveProperty(["gen_ai.request.max_tokens"]);
    expect(attributes).not.toHaveProperty(["gen_ai.request.choice.count"]);
  });

  test("in an answer is left out", async () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.object(), fc.constant(null), fc.constant("stop"));
    const choice = fc.oneof(
      fc.constant(null),
      fc.record({ index: value, finish_reason: value }, { requiredKeys: [] }),
    );
    const anyUsage = fc.record({ prompt_tokens: value, completion_tokens: value });
    await fc.assert(
      fc.asyncProperty(fc.array(choice), anyUsage, async (choices, usage) => {
        const recorded = recordTraces();
        const provider = {
          name: "first",
          chat: async () => ({ model: "a hostile name", choices: choices as unknown as ChatChoice[], usage }),
          close: async () => {},
        };
        const engine = createTestEngine({
          providers: new Map(["first", "second"].map((name) => [name, provider as never])),
        });
        await inTrace(recorded, () => engine.chat("one"));
        const { attributes } = await spanOf("ai.chat", recorded);
        const reasons = (attributes["gen_ai.response.finish_reasons"] ?? []) as unknown[];
        expect(reasons.every((reason) => reason === "stop")).toBe(true);
        for (const [name, given] of Object.entries(attributes))
          if (name.startsWith("gen_ai.usage.")) expect(given).toBeTypeOf("number");
        expect(attributes["gen_ai.response.model"]).toBe("theirs");
      }),
      { numRuns: 100 },
    );
  });
});
