// The provider of models in this process: admission, loading, and OpenAI's shapes around what llama.cpp generates.
import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import { EctusError, errorMessage, type Logger } from "@ectus/core";
import type { ChatCompletion, ChatCompletionChunk, ChatRequest, CompletionUsage } from "../../chat.ts";
import type { CallOptions, Provider } from "../../provider.ts";
import { readChatSettings } from "./chat-settings.ts";
import { embedInputs } from "./embeddings.ts";
import { answerRoom, type GenerationEnd, generateText } from "./generation.ts";
import { disposeLibrary, type LoadedLibrary, loadLibrary } from "./library.ts";
import { type LoadedModel, loadModel } from "./loaded-model.ts";
import { createSlotPool, type Lease, type SlotPool } from "./slot-pool.ts";

export interface ModelLoaded {
  readonly model: string;
  readonly durationMs: number;
}

export interface LlamaCppOptions {
  /** The provider's name in configuration, metrics and errors. */
  readonly name: string;
  /** Paths of GGUF files by the names of their models. */
  readonly models: Readonly<Record<string, string>>;
  /** Chats that one model answers at the same time. */
  readonly sequences: number;
  /** Requests that may wait for a model; one more is `overloaded`. */
  readonly queueBound: number;
  /** How long a request may wait for its turn; 60 s by default. */
  readonly queueTimeoutMs?: number;
  /** Tokens of prompt and answer that one chat may hold; no more than the model was trained on. */
  readonly contextTokens: number;
  /** Loads all models at once instead of each at its first use. */
  readonly preload?: boolean;
  /** Threads of llama.cpp; as many as there are processors by default, at most 8. */
  readonly threads?: number;
  /** How long a stream's reader may pause before it loses its place; 120 s by default. */
  readonly readerTimeoutMs?: number;
  /**
   * Whose call this is. What a sequence holds is used again only for the same scope, so that nobody can learn from a
   * fast answer what others have asked. Without a scope nothing is used again.
   */
  readonly cacheScope?: () => string | undefined;
  readonly onModelLoaded?: (event: ModelLoaded) => void;
  readonly log: Logger;
}

export interface LlamaCppProvider extends Provider {
  /** Loads all models; resolves when all are there. Rejects with `model_unavailable`. */
  preload(): Promise<void>;
  /** Chats that are generated and requests that wait, by model. */
  load(): Record<string, { readonly active: number; readonly waiting: number }>;
}

interface Slot {
  readonly index: number;
  scope: string | undefined;
}

interface Runtime {
  readonly name: string;
  readonly slots: SlotPool<Slot>;
  readonly embeddingSlot: SlotPool<null>;
  readonly get: () => Promise<LoadedModel>;
  /** The model if it is loaded now. */
  readonly peek: () => LoadedModel | undefined;
}

/** One call's signal, aborted with the error that the call ends with. */
interface Call {
  readonly signal: AbortSignal;
  readonly abort: (error: EctusError) => void;
  readonly end: () => void;
}

const defaultQueueTimeoutMs = 60_000;
const defaultReaderTimeoutMs = 120_000;
const mostThreads = 8;

export function createLlamaCppProvider(options: LlamaCppOptions): LlamaCppProvider {
  const threads = options.threads ?? Math.min(availableParallelism(), mostThreads);
  const calls = new Set<Call>();
  let library: Promise<LoadedLibrary> | undefined;
  let closing: Promise<void> | undefined;

  const getLibrary = () => {
    library ??= loadLibrary(options.log, threads).catch((error: unknown) => {
      library = undefined;
      throw error;
    });
    return library;
  };
  const runtimes = new Map(
    Object.entries(options.models).map(([name, path]) => [
      name,
      createRuntime(options, name, async () =>
        loadModel(await getLibrary(), {
          path,
          sequences: options.sequences,
          contextTokens: options.contextTokens,
          threads,
        }),
      ),
    ]),
  );

  const runtimeOf = (model: string): Runtime => {
    if (closing !== undefined) throw new EctusError("shutting_down");
    const runtime = runtimes.get(model);
    if (runtime === undefined) throw new EctusError("model_not_found", { model, param: "model" });
    return runtime;
  };

  const openCall = (outer: AbortSignal): Call => {
    const controller = new AbortController();
    const onAbort = () => controller.abort(new EctusError("client_closed_request"));
    const call: Call = {
      signal: controller.signal,
      abort: (error) => controller.abort(error),
      end() {
        outer.removeEventListener("abort", onAbort);
        calls.delete(call);
      },
    };
    if (outer.aborted) onAbort();
    else outer.addEventListener("abort", onAbort, { once: true });
    calls.add(call);
    return call;
  };

  /** Takes a sequence and evaluates the prompt; `text` starts with the first piece of the answer. */
  async function startChat(request: ChatRequest, { signal }: CallOptions): Promise<StartedChat> {
    const runtime = runtimeOf(request.model);
    const settings = readChatSettings(request);
    const call = openCall(signal);
    let lease: Lease<Slot> | undefined;
    let ended = false;
    const release = () => {
      if (ended) return;
      ended = true;
      lease?.release();
      call.end();
    };
    try {
      const scope = options.cacheScope?.();
      const ready = runtime.peek();
      const early = ready?.prompt(request.messages);
      lease = await runtime.slots.acquire(call.signal, (free) =>
        chooseSlot(free, scope, (slot) => {
          const sequence = ready?.sequences[slot.index];
          return early && sequence ? sequence.compareContextTokens(early).firstDifferentIndex : 0;
        }),
      );
      const loaded = ready ?? (await untilAborted(runtime.get(), call.signal));
      const slot = lease.item;
      const sequence = loaded.sequences[slot.index];
      if (sequence === undefined) throw new EctusError("internal_error");
      const prompt = early ?? loaded.prompt(request.messages);
      answerRoom(sequence, prompt.length);
      const grammar = await loaded.grammar(settings.responseFormat);
      // A prompt that is evaluated in one piece and the same prompt from the cache differ in the last bits, so a
      // request that names a seed always starts afresh.
      const reuse = scope !== undefined && slot.scope === scope && !settings.seedGiven;
      slot.scope = scope;
      const pieces = generateText({
        model: loaded.model,
        sequence,
        prompt,
        settings,
        grammar,
        reuse,
        signal: call.signal,
      });
      const first = await pieces.next();
      return { model: request.model, pieces, first, call, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  const provider: LlamaCppProvider = {
    name: options.name,

    async chat(request, callOptions) {
      const { pieces, first, release } = await startChat(request, callOptions);
      try {
        let content = "";
        let result = first;
        for (; !result.done; result = await pieces.next()) content += result.value;
        return toCompletion(request.model, content, result.value);
      } finally {
        await pieces.return(emptyEnd);
        release();
      }
    },

    async streamChat(request, callOptions) {
      const started = await startChat(request, callOptions);
      return toStream(started, options.name, options.readerTimeoutMs ?? defaultReaderTimeoutMs);
    },

    async embed(request, { signal }) {
      const runtime = runtimeOf(request.model);
      const call = openCall(signal);
      try {
        const lease = await runtime.embeddingSlot.acquire(call.signal);
        try {
          return await embedInputs(await untilAborted(runtime.get(), call.signal), request, call.signal);
        } finally {
          lease.release();
        }
      } finally {
        call.end();
      }
    },

    async preload() {
      await Promise.all([...runtimes.values()].map((runtime) => runtime.get()));
    },

    load: () =>
      Object.fromEntries(
        [...runtimes.values()].map(({ name, slots, embeddingSlot }) => [
          name,
          {
            active: slots.active() + embeddingSlot.active(),
            waiting: slots.waiting() + embeddingSlot.waiting(),
          },
        ]),
      ),

    close() {
      closing ??= (async () => {
        for (const call of calls) call.abort(new EctusError("shutting_down"));
        const pools = [...runtimes.values()].flatMap(({ slots, embeddingSlot }) => [slots, embeddingSlot]);
        await Promise.all(pools.map((pool) => pool.close()));
        await Promise.all([...runtimes.values()].map((runtime) => runtime.peek()?.dispose()));
        const loaded = await library?.catch(() => undefined);
        if (loaded !== undefined) await disposeLibrary(loaded);
      })();
      return closing;
    },
  };

  if (options.preload) {
    provider.preload().catch((error: unknown) => {
      options.log.error(
        { err: error },
        "the built-in model could not be loaded; it is tried again when it is asked for",
      );
    });
  }
  return provider;
}

function createRuntime(options: LlamaCppOptions, name: string, load: () => Promise<LoadedModel>): Runtime {
  const pool = {
    queueBound: options.queueBound,
    queueTimeoutMs: options.queueTimeoutMs ?? defaultQueueTimeoutMs,
  };
  const what = `the model '${name}'`;
  let loading: Promise<LoadedModel> | undefined;
  let loaded: LoadedModel | undefined;
  return {
    name,
    slots: createSlotPool<Slot>({
      ...pool,
      what,
      slots: Array.from({ length: options.sequences }, (_, index) => ({ index, scope: undefined })),
    }),
    embeddingSlot: createSlotPool<null>({ ...pool, what, slots: [null] }),
    peek: () => loaded,
    get() {
      loading ??= (async () => {
        const start = performance.now();
        try {
          loaded = await load();
        } catch (error) {
          loading = undefined;
          throw new EctusError(
            "model_unavailable",
            { model: name, reason: errorMessage(error) },
            { cause: error },
          );
        }
        const durationMs = performance.now() - start;
        options.log.info({ model: name, durationMs: Math.round(durationMs) }, "model loaded");
        options.onModelLoaded?.({ model: name, durationMs });
        return loaded;
      })();
      return loading;
    },
  };
}

/** The free slot of the same scope that holds most of the prompt; else one that holds nothing of any scope. */
function chooseSlot(free: readonly Slot[], scope: string | undefined, overlap: (slot: Slot) => number): Slot {
  const rank = (slot: Slot) => {
    if (scope !== undefined && slot.scope === scope) return 1 + overlap(slot);
    return slot.scope === undefined ? 0.5 : 0;
  };
  return free.reduce((best, slot) => (rank(slot) > rank(best) ? slot : best));
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const left = Promise.withResolvers<never>();
  const onAbort = () => left.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, left.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

interface StartedChat {
  readonly model: string;
  readonly pieces: AsyncGenerator<string, GenerationEnd, undefined>;
  readonly first: IteratorResult<string, GenerationEnd>;
  readonly call: Call;
  readonly release: () => void;
}

// What `return()` of a generator wants as its value; nobody reads it.
const emptyEnd: GenerationEnd = {
  finishReason: "stop",
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
};

function toUsage(end: GenerationEnd): CompletionUsage {
  return {
    prompt_tokens: end.promptTokens,
    completion_tokens: end.completionTokens,
    total_tokens: end.promptTokens + end.completionTokens,
    prompt_tokens_details: { cached_tokens: end.cachedTokens },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

const completionHead = (model: string) => ({
  id: `chatcmpl-${randomUUID().replaceAll("-", "")}`,
  created: Math.floor(Date.now() / 1000),
  model,
});

function toCompletion(model: string, content: string, end: GenerationEnd): ChatCompletion {
  return {
    ...completionHead(model),
    object: "chat.completion",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content, refusal: null },
        finish_reason: end.finishReason,
        logprobs: null,
      },
    ],
    usage: toUsage(end),
  };
}

/**
 * The stream of a chat that has begun. The sequence comes back when the stream ends, when its reader returns it or
 * pauses too long, and when the call is aborted, read or not.
 */
function toStream(
  started: StartedChat,
  provider: string,
  readerTimeoutMs: number,
): AsyncIterable<ChatCompletionChunk> {
  const { call, pieces, release } = started;
  const chunks = chunksOf(started);
  let running = false;
  let pause: NodeJS.Timeout | undefined;
  const finish = async () => {
    clearTimeout(pause);
    call.signal.removeEventListener("abort", onAbort);
    await pieces.return(emptyEnd);
    release();
  };
  const onAbort = () => {
    if (!running) void finish();
  };
  const waitForReader = () => {
    pause = setTimeout(() => {
      call.abort(new EctusError("stream_interrupted", { provider, reason: "it was not read for too long" }));
    }, readerTimeoutMs).unref();
  };
  call.signal.addEventListener("abort", onAbort, { once: true });
  waitForReader();

  const iterator: AsyncIterableIterator<ChatCompletionChunk> = {
    [Symbol.asyncIterator]: () => iterator,
    async next() {
      clearTimeout(pause);
      running = true;
      try {
        call.signal.throwIfAborted();
        const result = await chunks.next();
        if (result.done) await finish();
        else if (call.signal.aborted) call.signal.throwIfAborted();
        else waitForReader();
        return result;
      } catch (error) {
        await finish();
        throw error;
      } finally {
        running = false;
      }
    },
    async return() {
      await finish();
      return { done: true, value: undefined };
    },
  };
  return iterator;
}

async function* chunksOf({ model, pieces, first }: StartedChat): AsyncGenerator<ChatCompletionChunk> {
  const head = { ...completionHead(model), object: "chat.completion.chunk" as const };
  const chunk = (
    delta: ChatCompletionChunk["choices"][number]["delta"],
    finish_reason: GenerationEnd["finishReason"] | null = null,
  ): ChatCompletionChunk => ({ ...head, choices: [{ index: 0, delta, finish_reason, logprobs: null }] });
  yield chunk({ role: "assistant", content: "" });
  let result = first;
  for (; !result.done; result = await pieces.next()) yield chunk({ content: result.value });
  yield chunk({}, result.value.finishReason);
  yield { ...head, choices: [], usage: toUsage(result.value) };
}
