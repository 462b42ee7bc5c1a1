import { EctusError, type ErrorCode, type Logger } from "@ectus/core";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { ChatCompletion, ChatCompletionChunk, ChatRequest } from "./chat.ts";
import { createEngine, type Engine, type EngineOptions } from "./engine.ts";
import type { CallOptions, Provider } from "./provider.ts";
import type { ProvidersConfig } from "./providers-config.ts";

const warn = vi.fn();
const log = { warn } as unknown as Logger;
const signal = new AbortController().signal;
const messages: ChatRequest["messages"] = [{ role: "user", content: "Hi" }];
const completion: ChatCompletion = {
  id: "c",
  object: "chat.completion",
  created: 1,
  model: "theirs",
  choices: [{ index: 0, message: { role: "assistant", content: "Hello" }, finish_reason: "stop" }],
  usage: { prompt_tokens: 2, completion_tokens: 1, total_tokens: 3 },
};
const chunk = {
  id: "c",
  object: "chat.completion.chunk",
  created: 1,
  model: "m",
  choices: [],
} as ChatCompletionChunk;

let clock = 1_700_000_000_000;

beforeEach(() => {
  warn.mockReset();
  clock = 1_700_000_000_000;
});

/** A provider whose answers the test decides: `calls` are those that came, `answer` says what happens. */
function fakeProvider(name: string) {
  const calls: { request: ChatRequest; options: CallOptions }[] = [];
  const behavior = {
    chat: (): Promise<ChatCompletion> => Promise.resolve(completion),
    stream: (): AsyncIterable<ChatCompletionChunk> | Promise<never> => chunksOf(3),
    closed: 0,
  };
  const provider: Provider = {
    name,
    chat(request, options) {
      calls.push({ request, options });
      return behavior.chat();
    },
    async streamChat(request, options) {
      calls.push({ request, options });
      return await behavior.stream();
    },
    embed(request) {
      return Promise.resolve({
        object: "list",
        data: [{ object: "embedding", index: 0, embedding: [1] }],
        model: request.model,
        usage: { prompt_tokens: 4, total_tokens: 4 },
      });
    },
    close() {
      behavior.closed += 1;
      return Promise.resolve();
    },
  };
  return { provider, calls, behavior };
}

async function* chunksOf(count: number, error?: Error): AsyncGenerator<ChatCompletionChunk> {
  for (let index = 0; index < count; index += 1) yield chunk;
  if (error !== undefined) throw error;
}

const failing =
  (code: ErrorCode, details = {}) =>
  () =>
    Promise.reject(new EctusError(code, { provider: "x", reason: "of the test", ...details }));

function setUp({
  maxConcurrent = 10,
  queue = 10,
  ...options
}: Partial<EngineOptions> & { maxConcurrent?: number; queue?: number } = {}) {
  const first = fakeProvider("first");
  const second = fakeProvider("second");
  const openai = {
    type: "openai" as const,
    baseUrl: "http://127.0.0.1/v1",
    apiKey: undefined,
    headers: {},
    timeoutMs: 1000,
    streamIdleTimeoutMs: 1000,
    maxConcurrent,
    queue,
    retries: 0,
  };
  const model = {
    contextTokens: undefined,
    maxOutputTokens: undefined,
    price: undefined,
    ownedBy: undefined,
  };
  const config: ProvidersConfig = {
    providers: new Map([
      ["first", openai],
      ["second", openai],
    ]),
    models: new Map([
      ["one", { ...model, operations: ["chat"], routes: [{ provider: "first", model: "theirs" }] }],
      [
        "two",
        {
          ...model,
          operations: ["chat", "embeddings"],
          contextTokens: 100,
          maxOutputTokens: 10,
          price: { inputPerMillionUsd: 1, outputPerMillionUsd: 2 },
          ownedBy: "us",
          routes: [
            { provider: "first", model: "theirs" },
            { provider: "second", model: "others" },
          ],
        },
      ],
    ]),
  };
  const engine = createEngine({
    config,
    providers: new Map([
      ["first", first.provider],
      ["second", second.provider],
    ]),
    log,
    now: () => clock,
    ...options,
  });
  const chat = (model = "two", given = signal) => engine.chat({ model, messages }, { signal: given });
  const stream = (model = "two", given = signal) => engine.streamChat({ model, messages }, { signal: given });
  return { engine, first, second, chat, stream, config };
}

const statusOf = (engine: Engine, name: string) => engine.status().find((status) => status.name === name);

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "none",
    (error: unknown) => (error instanceof EctusError ? error.code : String(error)),
  );
}

describe("models", () => {
  test("are listed with what is known of them", () => {
    const { engine } = setUp();
    expect(engine.models().map(({ id }) => id)).toEqual(["one", "two"]);
    expect(engine.model("two")).toEqual({
      id: "two",
      operations: ["chat", "embeddings"],
      contextTokens: 100,
      maxOutputTokens: 10,
      price: { inputPerMillionUsd: 1, outputPerMillionUsd: 2 },
      created: 1_700_000_000,
      ownedBy: "us",
    });
    expect(engine.model("one")).toMatchObject({ contextTokens: null, price: null, ownedBy: "first" });
    expect(engine.model("three")).toBeUndefined();
  });

  test("that do not exist, or do not do this, are told as such", async () => {
    const { engine, chat, stream } = setUp();
    expect(await codeOf(chat("three"))).toBe("model_not_found");
    expect(await codeOf(stream("three"))).toBe("model_not_found");
    expect(await codeOf(engine.embed({ model: "one", input: "a" }, { signal }))).toBe(
      "unsupported_operation",
    );
  });

  test("need providers that exist", () => {
    const { config } = setUp();
    expect(() => createEngine({ config, providers: new Map(), log })).toThrow("'first'");
    const providers = new Map([["first", fakeProvider("first").provider]]);
    const only = new Map([...config.providers].slice(0, 1));
    expect(() => createEngine({ config: { ...config, providers: only }, providers, log })).toThrow(
      "'second'",
    );
  });
});

describe("a call", () => {
  test("goes to the first route under the provider's name of the model", async () => {
    const { chat, first, second } = setUp();
    expect(await chat()).toEqual({
      completion,
      provider: "first",
      providerModel: "theirs",
      usage: { inputTokens: 2, outputTokens: 1, cachedTokens: 0, reasoningTokens: 0 },
      providerMs: 0,
    });
    expect(first.calls[0]?.request).toEqual({ model: "theirs", messages });
    expect(first.calls[0]?.request.messages).toBe(messages);
    expect(second.calls).toHaveLength(0);
  });

  test("for embeddings says its usage too", async () => {
    const { engine } = setUp();
    expect(await engine.embed({ model: "two", input: "a" }, { signal })).toMatchObject({
      provider: "first",
      usage: { inputTokens: 4, outputTokens: 0 },
    });
  });

  test("whose provider says no usage has an unknown one", async () => {
    const { chat, first } = setUp();
    const { usage: _usage, ...silent } = completion;
    first.behavior.chat = () => Promise.resolve(silent);
    expect((await chat()).usage).toBeNull();
  });

  test.each<ErrorCode>([
    "upstream_error",
    "upstream_timeout",
    "upstream_rate_limited",
    "overloaded",
    "model_unavailable",
  ])("that meets %s goes to the next route", async (code) => {
    const { chat, first, second, engine } = setUp();
    first.behavior.chat = failing(code);
    expect(await chat()).toMatchObject({ provider: "second", providerModel: "others" });
    expect(second.calls[0]?.request.model).toBe("others");
    expect(statusOf(engine, "first")).toMatchObject({ inFlight: 0 });
  });

  test.each<ErrorCode>(["upstream_rejected", "context_length_exceeded", "client_closed_request"])(
    "that meets %s ends with it",
    async (code) => {
      const { chat, first, second } = setUp();
      first.behavior.chat = failing(code);
      expect(await codeOf(chat())).toBe(code);
      expect(second.calls).toHaveLength(0);
    },
  );

  test("that fails everywhere ends with the last error, and each failure is logged", async () => {
    const { chat, first, second } = setUp();
    first.behavior.chat = failing("upstream_error");
    second.behavior.chat = failing("upstream_timeout");
    expect(await codeOf(chat())).toBe("upstream_timeout");
    expect(warn.mock.calls.map(([fields]) => [fields.provider, fields.code])).toEqual([
      ["first", "upstream_error"],
      ["second", "upstream_timeout"],
    ]);
  });

  test("that meets a fault in a provider's code ends with it and gives its slot back", async () => {
    const { chat, first, engine } = setUp();
    first.behavior.chat = () => Promise.reject(new TypeError("fault"));
    await expect(chat()).rejects.toThrow("fault");
    expect(statusOf(engine, "first")).toMatchObject({ inFlight: 0 });
  });
});

describe("a circuit", () => {
  const circuit = {
    consecutiveFailures: 2,
    failureRatio: 1,
    minimumCalls: 100,
    windowMs: 1000,
    coolDownMs: 3000,
  };

  test("that is open is passed over until its trial", async () => {
    const { chat, first, engine } = setUp({ circuit });
    first.behavior.chat = failing("upstream_error");
    await chat();
    await chat();
    expect(statusOf(engine, "first")?.circuit).toBe("open");
    await chat();
    expect(first.calls).toHaveLength(2);
    first.behavior.chat = () => Promise.resolve(completion);
    clock += 3000;
    expect((await chat()).provider).toBe("first");
    expect(statusOf(engine, "first")?.circuit).toBe("closed");
    expect(warn.mock.calls.filter(([fields]) => fields.circuit).map(([fields]) => fields.circuit)).toEqual([
      "open",
      "half-open",
      "closed",
    ]);
  });

  test("of the only provider that is open makes the model unavailable, with the time of the trial", async () => {
    const { chat, first } = setUp({ circuit });
    first.behavior.chat = failing("upstream_error");
    await codeOf(chat("one"));
    await codeOf(chat("one"));
    clock += 500;
    await expect(chat("one")).rejects.toMatchObject({
      code: "provider_unavailable",
      details: { model: "one", retryAfterSeconds: 3 },
    });
  });

  test("is not opened by requests at fault, busy providers and clients that go away", async () => {
    const { chat, first, engine } = setUp({ circuit });
    for (const code of [
      "upstream_rejected",
      "client_closed_request",
      "upstream_rate_limited",
      "overloaded",
    ] as const) {
      first.behavior.chat = failing(code);
      for (let call = 0; call < 3; call += 1) await codeOf(chat("one"));
    }
    expect(statusOf(engine, "first")?.circuit).toBe("closed");
  });

  test("is opened by streams that break midway", async () => {
    const { stream, first, engine } = setUp({ circuit });
    first.behavior.stream = () =>
      chunksOf(1, new EctusError("stream_interrupted", { provider: "x", reason: "cut" }));
    for (let call = 0; call < 2; call += 1) {
      const { chunks } = await stream("one");
      expect(await codeOf(Array.fromAsync(chunks))).toBe("stream_interrupted");
    }
    expect(statusOf(engine, "first")?.circuit).toBe("open");
  });

  test("that opened while calls waited sends them on", async () => {
    const { chat, first, engine } = setUp({
      circuit: { ...circuit, consecutiveFailures: 1 },
      maxConcurrent: 1,
    });
    const gate = Promise.withResolvers<ChatCompletion>();
    first.behavior.chat = () => gate.promise;
    const failed = chat();
    const waiting = chat();
    await expect.poll(() => statusOf(engine, "first")?.queued).toBe(1);
    gate.reject(new EctusError("upstream_error", { provider: "first", reason: "of the test" }));
    expect((await failed).provider).toBe("second");
    expect((await waiting).provider).toBe("second");
    expect(statusOf(engine, "first")).toMatchObject({ inFlight: 0, queued: 0 });
  });
});

describe("load", () => {
  test("past what runs and waits goes to the next route", async () => {
    const { chat, stream, engine } = setUp({ maxConcurrent: 1, queue: 0 });
    const { chunks, provider } = await stream();
    expect(provider).toBe("first");
    expect((await chat()).provider).toBe("second");
    await Array.fromAsync(chunks);
    expect(statusOf(engine, "first")).toMatchObject({ inFlight: 0 });
    expect((await chat()).provider).toBe("first");
  });

  test("past all routes is refused with the time to come back", async () => {
    const { chat, stream } = setUp({ maxConcurrent: 1, queue: 0 });
    await stream("one");
    await expect(chat("one")).rejects.toMatchObject({
      code: "overloaded",
      details: { retryAfterSeconds: 1 },
    });
  });

  test("waits in the queue, and no longer than its bound", async () => {
    const { chat, stream, engine } = setUp({ maxConcurrent: 1, queue: 1, maxQueueWaitMs: 20 });
    await stream("one");
    expect(await codeOf(chat("one"))).toBe("overloaded");
    expect(statusOf(engine, "first")).toMatchObject({ queued: 0, inFlight: 1 });
  });

  test("that is gone before its turn asks nobody, so it is not said to have caused work", async () => {
    const { chat, first } = setUp();
    const error = await chat("two", AbortSignal.abort()).catch((thrown) => thrown);
    expect([error.code, error.details.provider]).toEqual(["client_closed_request", undefined]);
    expect(first.calls).toHaveLength(0);
  });

  test("that goes away while a provider fails does not ask the next one", async () => {
    const { chat, first, second } = setUp();
    const controller = new AbortController();
    first.behavior.chat = () => {
      controller.abort();
      return failing("upstream_error")();
    };
    const error = await chat("two", controller.signal).catch((thrown) => thrown);
    expect([error.code, error.details.provider]).toEqual(["client_closed_request", undefined]);
    expect(second.calls).toHaveLength(0);
  });

  test("that waits and goes away ends at once", async () => {
    const { chat, stream, engine, second } = setUp({ maxConcurrent: 1, queue: 1 });
    await stream();
    const controller = new AbortController();
    const waiting = codeOf(chat("two", controller.signal));
    expect(statusOf(engine, "first")?.queued).toBe(1);
    controller.abort();
    expect(await waiting).toBe("client_closed_request");
    expect(second.calls).toHaveLength(0);
  });
});

describe("a stream", () => {
  test("falls back until its provider accepts", async () => {
    const { stream, first } = setUp();
    first.behavior.stream = failing("upstream_error");
    const { chunks, provider, providerModel } = await stream();
    expect([provider, providerModel]).toEqual(["second", "others"]);
    expect(await Array.fromAsync(chunks)).toHaveLength(3);
  });

  test("holds its slot until its end", async () => {
    const { stream, engine } = setUp();
    const { chunks } = await stream();
    for await (const _chunk of chunks) expect(statusOf(engine, "first")?.inFlight).toBe(1);
    expect(statusOf(engine, "first")?.inFlight).toBe(0);
  });

  test("gives its slot back when it is left early, and ends the provider's work", async () => {
    const { stream, engine, first } = setUp();
    const source = chunksOf(1000);
    first.behavior.stream = () => source;
    const { chunks } = await stream();
    for await (const _chunk of chunks) break;
    expect(statusOf(engine, "first")?.inFlight).toBe(0);
    expect((await source.next()).done).toBe(true);
  });

  test("gives its slot back when it throws", async () => {
    const { stream, engine, first } = setUp();
    first.behavior.stream = () => chunksOf(1, new Error("fault"));
    const { chunks } = await stream();
    await expect(Array.fromAsync(chunks)).rejects.toThrow("fault");
    expect(statusOf(engine, "first")?.inFlight).toBe(0);
  });

  test("that nobody reads gives its slot back when the client goes away, once", async () => {
    const { stream, engine } = setUp();
    const controller = new AbortController();
    const other = await stream("one");
    const { chunks } = await stream("one", controller.signal);
    expect(statusOf(engine, "first")?.inFlight).toBe(2);
    controller.abort();
    expect(statusOf(engine, "first")?.inFlight).toBe(1);
    await Array.fromAsync(chunks);
    expect(statusOf(engine, "first")?.inFlight).toBe(1);
    await Array.fromAsync(other.chunks);
    expect(statusOf(engine, "first")?.inFlight).toBe(0);
  });

  test("whose client went away while the provider accepted holds no slot", async () => {
    const { stream, engine, first } = setUp();
    const controller = new AbortController();
    first.behavior.stream = () => {
      controller.abort();
      return chunksOf(1);
    };
    await stream("one", controller.signal);
    expect(statusOf(engine, "first")?.inFlight).toBe(0);
  });
});

test("the engine closes its providers", async () => {
  const { engine, first, second } = setUp();
  await engine.close();
  expect([first.behavior.closed, second.behavior.closed]).toEqual([1, 1]);
});
