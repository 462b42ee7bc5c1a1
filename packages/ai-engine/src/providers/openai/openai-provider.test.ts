import { EctusError, type Logger } from "@ectus/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Behavior,
  startUpstream,
  type Upstream,
} from "../../../../../tests/openai-upstream/upstream.ts";
import type { ChatCompletionChunk, ChatRequest } from "../../chat.ts";
import type { Provider } from "../../provider.ts";
import { createOpenAiProvider, type OpenAiProviderOptions } from "./openai-provider.ts";

const apiKey = "sk-the-platform-key-12345";
const request: ChatRequest = { model: "m", messages: [{ role: "user", content: "Hi" }] };
const signal = new AbortController().signal;
const log = { warn() {} } as unknown as Logger;

let upstream: Upstream;
const opened: Provider[] = [];

beforeEach(async () => {
  upstream = await startUpstream();
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((provider) => provider.close()));
  await upstream.close();
});

function provider(options: Partial<OpenAiProviderOptions> = {}): Provider {
  const made = createOpenAiProvider({
    name: "up",
    baseUrl: upstream.baseUrl,
    apiKey,
    timeoutMs: 5000,
    streamIdleTimeoutMs: 5000,
    retries: 2,
    random: () => 0,
    log,
    ...options,
  });
  opened.push(made);
  return made;
}

async function read(chunks: AsyncIterable<ChatCompletionChunk>) {
  const seen: ChatCompletionChunk[] = [];
  let error: unknown;
  try {
    for await (const chunk of chunks) seen.push(chunk);
  } catch (thrown) {
    error = thrown;
  }
  const text = seen.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  return { seen, text, error };
}

async function errorOf(promise: Promise<unknown>): Promise<EctusError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof EctusError)) throw new Error(`expected an EctusError, got ${String(error)}`);
  return error;
}

describe("a chat completion", () => {
  test("comes back as the upstream sent it", async () => {
    const completion = await provider().chat(request, { signal });
    expect(completion.choices[0]?.message.content).toBe("Hello, world");
    expect(completion.usage).toEqual({ prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 });
  });

  test("goes over a connection that is kept", async () => {
    const up = provider();
    for (let call = 0; call < 10; call += 1) await up.chat(request, { signal });
    // undici lets one turn of the event loop pass before it uses a connection again, so two take turns.
    expect(upstream.connectionCount).toBeLessThanOrEqual(2);
  });

  test("is asked for with the key, the given headers and the correlation id", async () => {
    const up = provider({ headers: { "X-Team": "blue" } });
    await up.chat({ ...request, temperature: 0.5, tools: [{ any: 1 }] }, { signal, correlationId: "id-1" });
    const { headers, body, path } = await upstream.nextRequest();
    expect(path).toBe("/v1/chat/completions");
    expect(headers).toMatchObject({
      authorization: `Bearer ${apiKey}`,
      "content-type": "application/json",
      "x-team": "blue",
      "x-request-id": "id-1",
    });
    expect(body).toEqual({ ...request, temperature: 0.5, tools: [{ any: 1 }] });
  });

  test("is asked for without what only this platform needs to know", async () => {
    await provider().chat({ ...request, store: true, metadata: { a: "b" }, stream: true }, { signal });
    expect((await upstream.nextRequest()).body).toEqual(request);
  });

  test("is asked for without a correlation id that is no header value, and without a key if there is none", async () => {
    await provider({ apiKey: undefined }).chat(request, { signal, correlationId: "a\r\nb: c" });
    const { headers } = await upstream.nextRequest();
    expect(headers["x-request-id"]).toBeUndefined();
    expect(headers.authorization).toBeUndefined();
  });

  test("larger than one packet comes back whole", async () => {
    const content = "ü".repeat(500_000);
    upstream.always({ content: [content] });
    expect((await provider().chat(request, { signal })).choices[0]?.message.content).toBe(content);
  });
});

test("embeddings come back as numbers or base64", async () => {
  const up = provider();
  const numbers = await up.embed({ model: "e", input: ["a", "b"] }, { signal });
  expect(numbers.data.map(({ embedding }) => embedding)).toEqual([
    [0.25, -0.5, 1],
    [0.25, -0.5, 1],
  ]);
  const base64 = await up.embed({ model: "e", input: "a", encoding_format: "base64" }, { signal });
  expect(base64.data[0]?.embedding).toBe("AACAPgAAAL8AAIA/");
  expect((await upstream.nextRequest()).path).toBe("/v1/embeddings");
});

describe("what an upstream does wrong", () => {
  const cases: [string, Behavior, string, string][] = [
    ["an answer that is not JSON", { raw: '{"choices": [' }, "upstream_error", "not valid JSON"],
    [
      "JSON that is no completion",
      { raw: '{"error":{"message":"no"}}' },
      "upstream_error",
      "no chat completion",
    ],
    ["JSON null", { raw: "null" }, "upstream_error", "no chat completion"],
    ["a body that is cut", { truncate: true }, "upstream_error", "before the end"],
    ["status 400", { status: 400, errorMessage: "too hot" }, "upstream_rejected", "too hot"],
    ["status 401", { status: 401 }, "upstream_error", "credentials"],
    ["status 500", { status: 500 }, "upstream_error", "500"],
    ["status 404", { status: 404 }, "upstream_rejected", "double"],
  ];

  test.each(cases)("%s is told and not tried again", async (_what, behavior, code, reason) => {
    upstream.always(behavior);
    const error = await errorOf(provider().chat(request, { signal }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(reason);
    expect(upstream.requestCount).toBe(1);
  });

  test("embeddings that are none are a failed upstream", async () => {
    upstream.always({ raw: '{"choices":[]}' });
    expect((await errorOf(provider().embed({ model: "e", input: "a" }, { signal }))).code).toBe(
      "upstream_error",
    );
  });

  test.each([
    ["the whole answer", { delayMs: 60_000 }],
    ["the headers", { hang: "before-headers" as const }],
  ])(
    "a wait for %s past the timeout is an upstream_timeout, and the connection is closed",
    async (_what, behavior) => {
      upstream.always(behavior);
      const error = await errorOf(provider({ timeoutMs: 50 }).chat(request, { signal }));
      expect(error.code).toBe("upstream_timeout");
      expect(error.message).toContain("50 ms");
      await (await upstream.nextRequest()).closed;
      expect(upstream.requestCount).toBe(1);
    },
  );

  test("an answer past all bounds is a failed upstream, and the connection is closed", async () => {
    upstream.always({ content: ["x".repeat(5000)] });
    const error = await errorOf(provider({ maxAnswerBytes: 4000 }).chat(request, { signal }));
    expect(error.message).toContain("larger than 4000 bytes");
    await (await upstream.nextRequest()).closed;
  });

  test("a port where nobody listens is a failed upstream that names no address", async () => {
    const { baseUrl } = upstream;
    await upstream.close();
    const error = await errorOf(provider({ baseUrl }).chat(request, { signal }));
    upstream = await startUpstream();
    expect(error.message).toBe("The provider 'up' failed: the connection failed (ECONNREFUSED).");
  });

  test("the key is in no error", async () => {
    upstream.always({ status: 400, errorMessage: `wrong key ${apiKey}` });
    const error = await errorOf(provider().chat(request, { signal }));
    expect(JSON.stringify([error.message, error.details, String(error.cause)])).not.toContain("platform-key");
  });
});

describe("a call is tried again where nothing was given to the caller", () => {
  test.each<[string, Behavior]>([
    ["a reset", { reset: "before-headers" }],
    ["status 429", { status: 429 }],
    ["status 502", { status: 502 }],
    ["status 503", { status: 503, retryAfter: "0" }],
    ["status 504", { status: 504 }],
  ])("after %s", async (_what, behavior) => {
    upstream.next(behavior, behavior);
    expect((await provider().chat(request, { signal })).choices).toHaveLength(1);
    expect(upstream.requestCount).toBe(3);
  });

  test("but not more often than it is told to be", async () => {
    upstream.always({ status: 503 });
    expect((await errorOf(provider({ retries: 1 }).chat(request, { signal }))).code).toBe("upstream_error");
    expect(upstream.requestCount).toBe(2);
  });

  test("but not if the upstream asks for a long rest, which the caller is told", async () => {
    upstream.always({ status: 429, retryAfter: "30" });
    const error = await errorOf(provider().chat(request, { signal }));
    expect(error.code).toBe("upstream_rate_limited");
    expect(error.details.retryAfterSeconds).toBe(30);
    expect(upstream.requestCount).toBe(1);
  });

  test("and for streams as well", async () => {
    upstream.next({ reset: "before-headers" }, { status: 503 });
    const { text, error } = await read(await provider().streamChat(request, { signal }));
    expect([text, error]).toEqual(["Hello, world", undefined]);
  });
});

describe("a client that goes away", () => {
  test("before the call is not sent on", async () => {
    const error = await errorOf(provider().chat(request, { signal: AbortSignal.abort() }));
    expect(error.code).toBe("client_closed_request");
    expect(upstream.requestCount).toBe(0);
  });

  test("while its connection is being made is not sent on", async () => {
    const up = provider();
    const controller = new AbortController();
    const answer = errorOf(up.chat(request, { signal: controller.signal }));
    controller.abort();
    expect((await answer).code).toBe("client_closed_request");
    for (let call = 0; call < 5; call += 1) await up.chat({ ...request, model: "later" }, { signal });
    expect(upstream.requests.map(({ body }) => body.model)).toEqual(Array(5).fill("later"));
  });

  test("during the call ends it at once, and the connection", async () => {
    upstream.always({ hang: "before-headers" });
    const controller = new AbortController();
    const answer = errorOf(provider().chat(request, { signal: controller.signal }));
    const seen = await upstream.nextRequest();
    controller.abort();
    expect((await answer).code).toBe("client_closed_request");
    expect(await seen.closed).toBe(true);
  });

  test("during a stream ends it at once, and the connection", async () => {
    upstream.always({ hang: "mid-stream" });
    const controller = new AbortController();
    const chunks = await provider().streamChat(request, { signal: controller.signal });
    const reading = read(chunks);
    controller.abort();
    const { error } = await reading;
    expect(error).toMatchObject({ code: "client_closed_request" });
    expect(await (await upstream.nextRequest()).closed).toBe(true);
  });

  test("does not leave its listener on the signal", async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal: watched } = controller;
    const add = watched.addEventListener.bind(watched);
    const remove = watched.removeEventListener.bind(watched);
    watched.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    watched.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    const up = provider();
    await up.chat(request, { signal: watched });
    await read(await up.streamChat(request, { signal: watched }));
    expect(listeners).toBe(0);
  });
});

describe("a stream", () => {
  test("gives its chunks in order and the usage last, which is always asked for", async () => {
    const up = provider();
    const { seen, text, error } = await read(
      await up.streamChat(
        { ...request, stream_options: { include_usage: false }, store: true, metadata: { a: "b" } },
        { signal },
      ),
    );
    expect(error).toBeUndefined();
    expect(text).toBe("Hello, world");
    expect(seen.at(-1)?.usage).toEqual({ prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 });
    expect((await upstream.nextRequest()).body).toEqual({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  test.each([1, 2, 7])("cut into packets of %i bytes gives the same chunks", async (pieceBytes) => {
    upstream.always({ pieceBytes, content: ["Grüße ", "👋🏽", " 日本"] });
    const { text, error } = await read(await provider().streamChat(request, { signal }));
    expect([text, error]).toEqual(["Grüße 👋🏽 日本", undefined]);
  });

  test("without usage has none", async () => {
    upstream.always({ usage: false });
    const { seen } = await read(await provider().streamChat(request, { signal }));
    expect(seen.some(({ usage }) => usage)).toBe(false);
  });

  test("leaves its connection to the next call", async () => {
    const up = provider();
    for (let round = 0; round < 5; round += 1) {
      await read(await up.streamChat(request, { signal }));
      await (await upstream.nextRequest()).closed;
    }
    expect(upstream.connectionCount).toBeLessThan(3);
  });

  test("without [DONE] is complete if every choice has its finish_reason", async () => {
    upstream.always({ done: false });
    const { text, error } = await read(await provider().streamChat(request, { signal }));
    expect([text, error]).toEqual(["Hello, world", undefined]);
  });

  test("without [DONE] is cut if one of the choices that were asked for has no finish_reason", async () => {
    upstream.always({ done: false });
    const { error } = await read(await provider().streamChat({ ...request, n: 2 }, { signal }));
    expect(error).toMatchObject({ code: "stream_interrupted" });
  });

  test.each<[string, Behavior, string]>([
    ["that is reset", { reset: "mid-stream" }, "connection broke"],
    ["that is reset within a chunk", { reset: "half-chunk" }, "connection broke"],
    ["that is cut within a chunk", { truncate: true }, "connection broke"],
    [
      "that ends without [DONE] and finish_reason",
      { done: false, finishReason: false },
      "without its end mark",
    ],
    ["with a chunk that is not JSON", { raw: 'data: {"choices": [}\n\n' }, "not valid JSON"],
    ["with a chunk without choices", { raw: 'data: {"id":"x"}\n\n' }, "without choices"],
    ["with a choice that is no object", { raw: 'data: {"choices":[null]}\n\n' }, "no object"],
    [
      "with an index that is no whole number",
      { raw: 'data: {"choices":[{"index":0.5}]}\n\n' },
      "unusable index",
    ],
    ["with an index past all bounds", { raw: 'data: {"choices":[{"index":4e9}]}\n\n' }, "unusable index"],
    ["with an error event", { errorEvent: { as: "event", message: "out of memory" } }, "out of memory"],
    ["with an error object", { errorEvent: { as: "data", message: "out of memory" } }, "out of memory"],
    ["with an error beside choices", { raw: 'data: {"choices":[],"error":{"message":"late"}}\n\n' }, "late"],
    ["with an event that is too large", { raw: `data: ${"x".repeat(5_000_000)}` }, "too large"],
  ])("%s throws stream_interrupted after what came before", async (_what, behavior, reason) => {
    upstream.always(behavior);
    const { text, error } = await read(await provider().streamChat(request, { signal }));
    expect(text).toMatch(/^Hello/);
    expect(error).toMatchObject({ code: "stream_interrupted" });
    expect((error as EctusError).message).toContain(reason);
    expect(upstream.requestCount).toBe(1);
  });

  test("that falls silent throws stream_interrupted after the idle timeout", async () => {
    upstream.always({ hang: "mid-stream" });
    const chunks = await provider({ streamIdleTimeoutMs: 50 }).streamChat(request, { signal });
    const { text, error } = await read(chunks);
    expect(text).toBe("Hello");
    expect((error as EctusError).message).toContain("silent for 50 ms");
  });

  test("that drips more often than the idle timeout is read to its end", async () => {
    upstream.always({ dripMs: 40, chunkCount: 10 });
    const chunks = await provider({ streamIdleTimeoutMs: 250, timeoutMs: 100 }).streamChat(request, {
      signal,
    });
    expect((await read(chunks)).text).toBe("xxxxxxxxxx");
  });

  test("events of other types and comments are passed over", async () => {
    upstream.always({ raw: ": keep-alive\n\nevent: ping\ndata: {}\n\n" });
    expect((await read(await provider().streamChat(request, { signal }))).text).toBe("Hello, world");
  });

  test.each<[string, Behavior, string, string]>([
    [
      "ends without any chunk",
      { content: [], finishReason: false, usage: false },
      "upstream_error",
      "without any chunk",
    ],
    [
      "is cut without any chunk",
      { content: [], finishReason: false, usage: false, done: false },
      "upstream_error",
      "end mark",
    ],
    ["is JSON", { contentType: "application/json" }, "upstream_error", "event stream"],
    ["is refused", { status: 400, errorMessage: "no such tool" }, "upstream_rejected", "no such tool"],
  ])(
    "that %s rejects before anything was given, so that another provider can be tried",
    async (_what, behavior, code, reason) => {
      upstream.always(behavior);
      const error = await errorOf(provider().streamChat(request, { signal }));
      expect(error.code).toBe(code);
      expect(error.message).toContain(reason);
    },
  );

  test("that is silent before its first chunk is an upstream_timeout", async () => {
    upstream.always({ hang: "after-headers" });
    const error = await errorOf(provider({ streamIdleTimeoutMs: 50 }).streamChat(request, { signal }));
    expect(error.code).toBe("upstream_timeout");
  });

  test("that is returned early closes the connection", async () => {
    upstream.always({ hang: "mid-stream" });
    const chunks = await provider({ streamIdleTimeoutMs: 60_000 }).streamChat(request, { signal });
    for await (const _chunk of chunks) break;
    expect(await (await upstream.nextRequest()).closed).toBe(true);
  });

  test("that is closed with its provider is interrupted", async () => {
    upstream.always({ hang: "mid-stream" });
    const up = provider();
    const chunks = await up.streamChat(request, { signal });
    const reading = read(chunks);
    await up.close();
    expect((await reading).error).toMatchObject({ code: "stream_interrupted" });
    expect((await errorOf(up.chat(request, { signal }))).code).toBe("upstream_error");
  });

  test("is read by one next() at a time", async () => {
    upstream.always({ hang: "mid-stream" });
    const chunks = await provider().streamChat(request, { signal });
    const iterator = chunks[Symbol.asyncIterator]();
    await iterator.next();
    const waiting = iterator.next();
    await expect(iterator.next()).rejects.toThrow("one next() at a time");
    await iterator.return?.();
    expect((await waiting).done).toBe(true);
  });

  test("whose reader rests longer than the idle timeout is not cut: the silence is the reader's", async () => {
    upstream.always({ chunkCount: 3000, chunkText: "x".repeat(4096) });
    const chunks = await provider({ streamIdleTimeoutMs: 20 }).streamChat(request, { signal });
    const sent = await upstream.nextRequest();
    await expect.poll(() => settled(() => sent.bytesSent()), { timeout: 10_000 }).toBe(true);
    const { text, error } = await read(chunks);
    expect([text.length, error]).toEqual([3000 * 4096, undefined]);
  });

  test("whose upstream goes on after [DONE] is complete, and its connection is given up", async () => {
    upstream.always({ raw: `data: [DONE]\n\n${": more\n".repeat(40_000)}`, chunkCount: 100_000 });
    const { text, error } = await read(await provider().streamChat(request, { signal }));
    expect([text, error]).toEqual(["x", undefined]);
    expect(await (await upstream.nextRequest()).closed).toBe(true);
  });

  test("that nobody reads stops the upstream's writing, and goes on when it is read", async () => {
    const total = 64 * 1024 * 1024;
    const chunkText = "x".repeat(16 * 1024);
    upstream.always({ chunkCount: total / chunkText.length, chunkText });
    const chunks = await provider().streamChat(request, { signal });
    const sent = await upstream.nextRequest();
    // The kernel's buffers of a loopback connection take some megabytes; then the writer has to wait.
    await expect.poll(() => settled(() => sent.bytesSent()), { timeout: 10_000 }).toBe(true);
    const before = sent.bytesSent();
    expect(before).toBeLessThan(total / 4);
    let length = 0;
    let most = 0;
    for await (const chunk of chunks) {
      length += chunk.choices[0]?.delta.content?.length ?? 0;
      most = Math.max(most, sent.bytesSent() - length);
    }
    expect(length).toBe(total);
    // What was sent and not yet read never grew past the kernel's buffers and this side's 64 KiB.
    expect(most).toBeLessThan(total / 4);
  });
});

/** Whether a figure stands still over a few turns of the event loop and 50 ms. */
async function settled(figure: () => number): Promise<boolean> {
  const before = figure();
  await new Promise((resolve) => setTimeout(resolve, 50));
  return before === figure() && before > 0;
}
