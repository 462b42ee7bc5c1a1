// Puts a streamed answer together again, as the one completion that it is the stream of.
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatMessage,
  ChunkChoice,
  CompletionUsage,
  FinishReason,
} from "@ectus/ai-engine";
import { EctusError } from "@ectus/core";
import { mostStoredBytes, tooLargeToStore } from "./completion-record.ts";

export interface ChunkAccumulator {
  /**
   * @throws EctusError `upstream_error` for what cannot be part of an answer, `stream_interrupted` where it becomes more
   * than can be stored
   */
  add(chunk: ChatCompletionChunk): void;
  completion(): ChatCompletion;
}

interface ToolCall {
  readonly index?: number;
  readonly function?: { readonly arguments?: string };
}

interface Choice {
  readonly index: number;
  message: Record<string, unknown>;
  finishReason: FinishReason | null;
  logprobs: { content: unknown[] } | null;
}

// More than any model makes; an index far away would make an array as long.
const mostToolCalls = 1_024;
// What a piece costs beside its text, since V8 keeps texts that were joined as the pieces they came in.
const pieceBytes = 32;

/** @param provider that the chunks come from, for errors */
export function createChunkAccumulator(
  identity: { readonly id: string; readonly model: string },
  provider: string,
): ChunkAccumulator {
  const choices = new Map<number, Choice>();
  let created = 0;
  let usage: CompletionUsage | null = null;
  let bytes = 0;

  function grow(added: unknown): void {
    bytes += pieceBytes + (typeof added === "string" ? added : JSON.stringify(added)).length;
    if (bytes <= mostStoredBytes) return;
    throw new EctusError("stream_interrupted", { provider, reason: tooLargeToStore });
  }

  function choiceOf(index: number): Choice {
    let choice = choices.get(index);
    if (choice === undefined) {
      choice = { index, message: { role: "assistant", content: null }, finishReason: null, logprobs: null };
      choices.set(index, choice);
    }
    return choice;
  }

  function merge(chunk: ChunkChoice): void {
    const choice = choiceOf(chunk.index);
    // Azure's filters send choices without a delta.
    for (const [field, value] of Object.entries(chunk.delta ?? {})) {
      grow(value ?? "");
      if (field === "tool_calls") mergeToolCalls(choice, value as ToolCall[] | null, provider);
      else if (typeof value === "string" && field !== "role")
        choice.message[field] = `${choice.message[field] ?? ""}${value}`;
      else if (value !== null && value !== undefined) choice.message[field] = value;
    }
    const logprobs = (chunk.logprobs as { content?: unknown[] | null } | null | undefined)?.content;
    if (logprobs != null) {
      grow(logprobs);
      choice.logprobs ??= { content: [] };
      choice.logprobs.content.push(...logprobs);
    }
    if (chunk.finish_reason != null) choice.finishReason = chunk.finish_reason;
  }

  return {
    add(chunk) {
      created ||= chunk.created;
      if (chunk.usage != null) usage = chunk.usage;
      for (const choice of chunk.choices) merge(choice);
    },
    completion: () => ({
      ...identity,
      object: "chat.completion",
      created,
      choices: [...choices.values()]
        .sort((a, b) => a.index - b.index)
        .map(({ index, message, finishReason, logprobs }) => ({
          index,
          message: message as unknown as ChatMessage,
          logprobs,
          finish_reason: finishReason,
        })),
      usage,
    }),
  };
}

// The first piece of a tool call has its id and name; later ones add to its arguments.
function mergeToolCalls(choice: Choice, pieces: readonly ToolCall[] | null, provider: string): void {
  const calls = (choice.message.tool_calls ?? []) as (Record<string, unknown> & {
    function?: Record<string, unknown>;
  })[];
  choice.message.tool_calls = calls;
  for (const { index = calls.length, ...piece } of pieces ?? []) {
    if (!(Number.isInteger(index) && index >= 0 && index <= Math.min(calls.length, mostToolCalls))) {
      throw new EctusError("upstream_error", {
        provider,
        reason: "it sent a tool call with an unusable index",
      });
    }
    const call = calls[index];
    if (call === undefined) {
      calls[index] = structuredClone(piece) as Record<string, unknown>;
    } else if (piece.function?.arguments !== undefined) {
      call.function = {
        ...call.function,
        arguments: `${call.function?.arguments ?? ""}${piece.function.arguments}`,
      };
    }
  }
}
