// The provider of models in this process: puts admission, loading, generation and OpenAI's shapes together.
import { availableParallelism } from "node:os";
import { EctusError, type Logger } from "@ectus/core";
import { type Span, startSpan } from "@ectus/monitoring";
import type { ChatRequest } from "../../chat.ts";
import type { CallOptions, Provider } from "../../provider.ts";
import {
  generateTemplate,
  loadTemplate,
  markFailed,
  promptTemplate,
  recordStep,
  recordWait,
  slotTemplate,
} from "../../step-spans.ts";
import { createCalls, untilAborted } from "./call.ts";
import { type StartedChat, toCompletion, toStream, toUsage } from "./chat-answer.ts";
import { readChatSettings } from "./chat-settings.ts";
import { embedInputs } from "./embeddings.ts";
import { answerRoom, generateText, noTokens, type TokenCounts } from "./generation.ts";
import { disposeLibrary, type LoadedLibrary, loadLibrary } from "./library.ts";
import { type LoadedModel, loadModel } from "./loaded-model.ts";
import { chooseSlot, createModelRuntime, type ModelRuntime, type Slot } from "./model-runtime.ts";
import type { Lease, SlotPool } from "./slot-pool.ts";

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
  /** Threads of llama.cpp; half as many as there are processors by default, from 1 to 8. */
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

const defaultQueueTimeoutMs = 60_000;
const defaultReaderTimeoutMs = 120_000;
const mostThreads = 8;

const closeFollowsMs = 1_000;

/**
 * llama.cpp's threads spin while they wait for each other, so one that has to share its processor holds up all. Seen on
 * two processors: 100 tokens/s with one thread and 33 with two; beside another busy process, 57 and 4.
 */
export const defaultThreads = (processors: number): number =>
  Math.min(Math.max(Math.floor(processors / 2), 1), mostThreads);

export function createLlamaCppProvider(options: LlamaCppOptions): LlamaCppProvider {
  const { sequences, contextTokens } = options;
  const threads = options.threads ?? defaultThreads(availableParallelism());
  const calls = createCalls();
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
      createModelRuntime({
        name,
        sequences,
        queueBound: options.queueBound,
        queueTimeoutMs: options.queueTimeoutMs ?? defaultQueueTimeoutMs,
        load: async () => loadModel(await getLibrary(), { path, sequences, contextTokens, threads }),
        onLoaded: (durationMs) => options.onModelLoaded?.({ model: name, durationMs }),
        log: options.log,
      }),
    ]),
  );

  const runtimeOf = (model: string): ModelRuntime => {
    if (closing !== undefined) throw new EctusError("shutting_down");
    const runtime = runtimes.get(model);
    if (runtime === undefined) throw new EctusError("model_not_found", { model, param: "model" });
    return runtime;
  };

  /** Takes a sequence, evaluates the prompt and generates the first piece of the answer. */
  async function startChat(request: ChatRequest, { signal }: CallOptions): Promise<StartedChat> {
    const runtime = runtimeOf(request.model);
    const settings = readChatSettings(request);
    const call = calls.open(signal);
    const counts = noTokens();
    let lease: Lease<Slot> | undefined;
    let generating: Span | undefined;
    let ended = false;
    const release = (error?: unknown) => {
      if (ended) return;
      ended = true;
      if (error !== undefined && generating !== undefined) markFailed(generating, error);
      generating?.end();
      lease?.release();
      call.end();
    };
    try {
      const scope = options.cacheScope?.();
      const ready = runtime.peek();
      const early = ready?.prompt(request.messages);
      const turn = runtime.slots.acquire(call.signal, (free) =>
        chooseSlot(free, scope, (slot) => {
          const sequence = ready?.sequences[slot.index];
          return early && sequence ? sequence.compareContextTokens(early).firstDifferentIndex : 0;
        }),
      );
      lease = await recordTurn(runtime.slots, turn);
      const loaded = ready ?? (await waitForModel(runtime, call.signal));
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
        counts,
        signal: call.signal,
      });
      const first = await recordStep(promptTemplate, () => pieces.next());
      generating = startSpan(generateTemplate);
      return { model: request.model, pieces, first, counts, call, release };
    } catch (error) {
      release();
      throw withUsage(error, counts);
    }
  }

  const provider: LlamaCppProvider = {
    name: options.name,

    async chat(request, callOptions) {
      const started = await startChat(request, callOptions);
      return await toCompletion(started).catch((error: unknown) => {
        throw withUsage(error, started.counts);
      });
    },

    async streamChat(request, callOptions) {
      const started = await startChat(request, callOptions);
      return toStream(started, options.name, options.readerTimeoutMs ?? defaultReaderTimeoutMs);
    },

    async embed(request, { signal }) {
      const runtime = runtimeOf(request.model);
      const call = calls.open(signal);
      try {
        const slots = runtime.embeddingSlot;
        const lease = await recordTurn(slots, slots.acquire(call.signal));
        try {
          return await embedInputs(await waitForModel(runtime, call.signal), request, call.signal);
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
        calls.abortAll(new EctusError("shutting_down"));
        await Promise.all([...runtimes.values()].map((runtime) => runtime.close()));
        const loaded = await library?.catch(() => undefined);
        if (loaded !== undefined) await disposeLibrary(loaded);
      })();
      return closing;
    },
  };

  if (options.preload) {
    provider.preload().catch((error: unknown) => {
      // The library tries itself in a process of its own, which a terminal's Ctrl-C reaches before this provider is
      // closed: then the failure is part of the stop.
      const timer = setTimeout(() => {
        if (closing !== undefined) return;
        options.log.error(
          { err: error },
          "the built-in model could not be loaded; it is tried again when it is asked for",
        );
      }, closeFollowsMs);
      timer.unref();
    });
  }
  return provider;
}

/** Records the wait for a turn of `slots` that was asked for just now, if there is one. */
function recordTurn<T>(slots: SlotPool<T>, turn: Promise<Lease<T>>): Promise<Lease<T>> {
  // Nobody waits as long as there is a free slot.
  return slots.waiting() === 0 ? turn : recordWait(slotTemplate, turn);
}

/** The model, loaded first if it is not yet. */
async function waitForModel(runtime: ModelRuntime, signal: AbortSignal): Promise<LoadedModel> {
  return runtime.peek() ?? (await recordStep(loadTemplate, () => untilAborted(runtime.get(), signal)));
}

/** What a client that leaves has caused is known here, so that it pays that and no more. */
function withUsage(error: unknown, counts: Readonly<TokenCounts>): unknown {
  return error instanceof EctusError && error.code === "client_closed_request"
    ? new EctusError("client_closed_request", { usage: toUsage(counts) }, { cause: error })
    : error;
}
