// An engine for tests of what it measures: two providers whose answers the test gives, and a clock that it moves.
import { EctusError, type Logger } from "@ectus/core";
import { createInstruments, noInstruments, Registry } from "@ectus/monitoring";
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatRequest,
  ChunkChoice,
  CompletionUsage,
} from "./chat.ts";
import type { EmbeddingsResponse } from "./embeddings.ts";
import { createEngine, type EngineOptions } from "./engine.ts";
import type { CallOptions, Provider, ProviderStream } from "./provider.ts";
import type { ModelConfig, OpenAiProviderConfig, ProvidersConfig } from "./providers-config.ts";

const messages: ChatRequest["messages"] = [{ role: "user", content: "Hi" }];

export const usageOf = (prompt: number, completion: number): CompletionUsage => ({
  prompt_tokens: prompt,
  completion_tokens: completion,
  total_tokens: prompt + completion,
});

/** A chunk whose only choice says this. */
export function chunkOf(delta: ChunkChoice["delta"], more: object = {}): ChatCompletionChunk {
  const choices = [{ index: 0, delta, finish_reason: null }];
  return { id: "c", object: "chat.completion.chunk", created: 1, model: "theirs", choices, ...more };
}

/** What came to a provider; the test ends it in one of these ways. */
export interface AskedCall {
  readonly provider: string;
  readonly kind: "chat" | "stream" | "embeddings";
  readonly options: CallOptions;
  readonly isOver: boolean;
  /** Answers with this usage; a chat or embeddings. */
  answer(usage?: CompletionUsage): void;
  /** Accepts a stream. */
  stream(counts?: CompletionUsage): ScriptedStream;
  fail(error: unknown): void;
}

/** A stream that gives what the test pushes. With `counts` it is of a provider that counts itself. */
export class ScriptedStream implements ProviderStream, AsyncIterator<ChatCompletionChunk, undefined> {
  readonly #results: (() => Promise<IteratorResult<ChatCompletionChunk, undefined>>)[] = [];
  readonly #counts: { -readonly [Field in keyof CompletionUsage]: CompletionUsage[Field] } | undefined;
  #waiter: PromiseWithResolvers<IteratorResult<ChatCompletionChunk, undefined>> | undefined;
  #over = false;

  constructor(signal: AbortSignal, counts: CompletionUsage | undefined) {
    this.#counts = counts === undefined ? undefined : { ...counts };
    if (counts === undefined) Object.assign(this, { usageSoFar: undefined });
    const leave = (): void => {
      // Like llama.cpp it has a token in the making, which it counts and then throws away.
      if (this.#waiter !== undefined) this.#count();
      this.#results.length = 0;
      this.fail(new EctusError("client_closed_request"));
    };
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave);
  }

  usageSoFar(): CompletionUsage {
    return { ...(this.#counts as CompletionUsage) };
  }

  push(chunk: ChatCompletionChunk): void {
    if (this.#over) return;
    this.#count();
    this.#give(() => Promise.resolve({ value: chunk, done: false }));
  }

  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#give(() => Promise.resolve({ value: undefined, done: true }));
  }

  fail(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#give(() => Promise.reject(error));
  }

  next(): Promise<IteratorResult<ChatCompletionChunk, undefined>> {
    const result = this.#results.shift();
    if (result !== undefined) return result();
    if (this.#over) return Promise.resolve({ value: undefined, done: true });
    this.#waiter = Promise.withResolvers();
    return this.#waiter.promise;
  }

  async return(): Promise<IteratorResult<ChatCompletionChunk, undefined>> {
    this.#over = true;
    this.#results.length = 0;
    const end = { value: undefined, done: true } as const;
    this.#waiter?.resolve(end);
    return end;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #count(): void {
    if (this.#counts === undefined) return;
    this.#counts.completion_tokens += 1;
    this.#counts.total_tokens += 1;
  }

  #give(result: () => Promise<IteratorResult<ChatCompletionChunk, undefined>>): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#results.push(result);
    else waiter.resolve(result());
  }
}

export interface TestEngineOptions extends Partial<EngineOptions> {
  readonly measured?: boolean;
  readonly maxConcurrent?: number;
  readonly queue?: number;
  /** Milliseconds that a provider works before it begins to wait for its answer. */
  readonly preparingMs?: number;
}

/** `one` goes to the provider `first`; `two` has a price, and goes on to `second`; `vectors` makes embeddings. */
export function createTestEngine(options: TestEngineOptions = {}) {
  const { measured = true, maxConcurrent = 10, queue = 10, preparingMs = 0, ...given } = options;
  const registry = new Registry();
  const asked: AskedCall[] = [];
  const clock = { ms: 1_000, reads: 0 };
  const config = configOf(maxConcurrent, queue);
  const onAsked = (call: AskedCall): void => {
    asked.push(call);
    clock.ms += preparingMs;
  };
  const engine = createEngine({
    config,
    providers: new Map(["first", "second"].map((name) => [name, scriptedProvider(name, onAsked)])),
    log: { warn() {} } as unknown as Logger,
    now: () => clock.ms,
    instruments: measured ? createInstruments(registry) : noInstruments,
    monotonicNow: () => {
      clock.reads += 1;
      return clock.ms;
    },
    ...given,
  });
  const { signal } = new AbortController();
  return {
    engine,
    config,
    registry,
    clock,
    asked,
    chat: (model = "one", given = signal) => engine.chat({ model, messages }, { signal: given }),
    stream: (model = "one", given = signal) => engine.streamChat({ model, messages }, { signal: given }),
    embed: (model = "vectors", given = signal) => engine.embed({ model, input: "Hi" }, { signal: given }),
  };
}

export type TestEngine = ReturnType<typeof createTestEngine>;

function scriptedProvider(name: string, onAsked: (call: AskedCall) => void): Provider {
  function ask<T>(kind: AskedCall["kind"], options: CallOptions, toAnswer: (usage: object) => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let isOver = false;
    const end = (): void => {
      isOver = true;
      options.signal.removeEventListener("abort", leave);
    };
    const leave = (): void => {
      end();
      reject(new EctusError("client_closed_request", { usage: usageOf(7, 1) }));
    };
    options.signal.addEventListener("abort", leave);
    onAsked({
      provider: name,
      kind,
      options,
      get isOver() {
        return isOver;
      },
      answer(usage) {
        end();
        resolve(toAnswer(usage === undefined ? {} : { usage }));
      },
      stream(counts) {
        end();
        const stream = new ScriptedStream(options.signal, counts);
        resolve(stream as T);
        return stream;
      },
      fail(error) {
        end();
        reject(error);
      },
    });
    return promise;
  }
  return {
    name,
    chat: (_request, options) =>
      ask("chat", options, (usage) => ({ ...completion, ...usage }) as ChatCompletion),
    streamChat: (_request, options) => ask("stream", options, () => ({}) as ProviderStream),
    embed: (_request, options) =>
      ask("embeddings", options, (usage) => ({ ...embeddings, ...usage }) as EmbeddingsResponse),
    close: () => Promise.resolve(),
  };
}

const completion: ChatCompletion = {
  id: "c",
  object: "chat.completion",
  created: 1,
  model: "theirs",
  choices: [{ index: 0, message: { role: "assistant", content: "Hello" }, finish_reason: "stop" }],
};
const embeddings: EmbeddingsResponse = {
  object: "list",
  data: [{ object: "embedding", index: 0, embedding: [1] }],
  model: "theirs",
};

function configOf(maxConcurrent: number, queue: number): ProvidersConfig {
  const provider: OpenAiProviderConfig = {
    type: "openai",
    baseUrl: "http://127.0.0.1/v1",
    apiKey: undefined,
    headers: {},
    timeoutMs: 1000,
    streamIdleTimeoutMs: 1000,
    maxConcurrent,
    queue,
    retries: 0,
  };
  const model: ModelConfig = {
    operations: ["chat"],
    contextTokens: undefined,
    maxOutputTokens: undefined,
    price: undefined,
    ownedBy: undefined,
    routes: [{ provider: "first", model: "theirs" }],
  };
  return {
    providers: new Map([
      ["first", provider],
      ["second", provider],
    ]),
    models: new Map<string, ModelConfig>([
      ["one", model],
      [
        "two",
        {
          ...model,
          price: { inputPerMillionUsd: 0.15, outputPerMillionUsd: 0.6, cachedInputPerMillionUsd: 0.075 },
          routes: [
            { provider: "first", model: "theirs" },
            { provider: "second", model: "others" },
          ],
        },
      ],
      ["vectors", { ...model, operations: ["embeddings"] }],
    ]),
  };
}
