// A chat that has begun, as OpenAI's clients read it: one completion, or a stream of chunks.
import { randomUUID } from "node:crypto";
import { EctusError } from "@ectus/core";
import type { ChatCompletion, ChatCompletionChunk, CompletionUsage } from "../../chat.ts";
import type { ProviderStream } from "../../provider.ts";
import type { Call } from "./call.ts";
import { type GenerationEnd, noTokens, type TokenCounts } from "./generation.ts";

export interface StartedChat {
  readonly model: string;
  readonly pieces: AsyncGenerator<string, GenerationEnd, undefined>;
  /** What the first pull of `pieces` gave: a failure before it can still be answered by another provider. */
  readonly first: IteratorResult<string, GenerationEnd>;
  /** What it has used so far. */
  readonly counts: Readonly<TokenCounts>;
  readonly call: Call;
  /** Gives the sequence back; further calls do nothing. `error` is what the answer ended with, if it failed. */
  readonly release: (error?: unknown) => void;
}

/** Reads the answer to its end. */
export async function toCompletion({ model, pieces, first, release }: StartedChat): Promise<ChatCompletion> {
  let failure: unknown;
  try {
    let content = "";
    let result = first;
    for (; !result.done; result = await pieces.next()) content += result.value;
    const { finishReason } = result.value;
    return {
      ...completionHead(model),
      object: "chat.completion",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content, refusal: null },
          finish_reason: finishReason,
          logprobs: null,
        },
      ],
      usage: toUsage(result.value),
    };
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    await endPieces(pieces);
    release(failure);
  }
}

/**
 * The answer as a stream. The sequence comes back when the stream ends, when its reader returns it or pauses longer
 * than `readerTimeoutMs`, and when the call is aborted, read or not.
 */
export function toStream(started: StartedChat, provider: string, readerTimeoutMs: number): ProviderStream {
  const { call, counts, pieces, release } = started;
  const chunks = chunksOf(started);
  let running = false;
  let pause: NodeJS.Timeout | undefined;
  const finish = async (error?: unknown) => {
    clearTimeout(pause);
    call.signal.removeEventListener("abort", onAbort);
    await endPieces(pieces);
    release(error);
  };
  const onAbort = () => {
    if (!running) void finish(call.signal.reason);
  };
  const waitForReader = () => {
    pause = setTimeout(() => {
      call.abort(new EctusError("stream_interrupted", { provider, reason: "it was not read for too long" }));
    }, readerTimeoutMs).unref();
  };
  call.signal.addEventListener("abort", onAbort, { once: true });
  if (call.signal.aborted) onAbort();
  else waitForReader();

  const iterator: ProviderStream & AsyncIterableIterator<ChatCompletionChunk> = {
    [Symbol.asyncIterator]: () => iterator,
    usageSoFar: () => toUsage(counts),
    async next() {
      clearTimeout(pause);
      running = true;
      try {
        call.signal.throwIfAborted();
        const result = await chunks.next();
        call.signal.throwIfAborted();
        if (result.done) await finish();
        else waitForReader();
        return result;
      } catch (error) {
        await finish(error);
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

const completionHead = (model: string) => ({
  id: `chatcmpl-${randomUUID().replaceAll("-", "")}`,
  created: Math.floor(Date.now() / 1000),
  model,
});

/** OpenAI's form of the counts. */
export const toUsage = (counts: Readonly<TokenCounts>): CompletionUsage => ({
  prompt_tokens: counts.promptTokens,
  completion_tokens: counts.completionTokens,
  total_tokens: counts.promptTokens + counts.completionTokens,
  prompt_tokens_details: { cached_tokens: counts.cachedTokens },
  completion_tokens_details: { reasoning_tokens: 0 },
});

// What `return()` of a generator wants as its value; nobody reads it.
const noEnd: GenerationEnd = { finishReason: "stop", ...noTokens() };

/** Ends a generation; one that fails at that is at its end, too. */
async function endPieces(pieces: StartedChat["pieces"]): Promise<void> {
  await pieces.return(noEnd).catch(() => undefined);
}
