// The loop that asks the model for one token after the other and gives their text on, one piece a pull.
import { EctusError } from "@ectus/core";
import type { LlamaContextSequence, LlamaGrammarEvaluationState, LlamaModel, Token } from "node-llama-cpp";
import type { ChatSettings } from "./chat-settings.ts";
import { createStopFilter } from "./stop-filter.ts";
import { createTokenText } from "./token-text.ts";

export interface GenerationOptions {
  readonly model: LlamaModel;
  readonly sequence: LlamaContextSequence;
  readonly prompt: readonly Token[];
  readonly settings: ChatSettings;
  readonly grammar: LlamaGrammarEvaluationState | undefined;
  /** Whether what the sequence holds from before may stand for the beginning of this prompt. */
  readonly reuse: boolean;
  readonly counts: TokenCounts;
  /** Aborted with the error to throw. */
  readonly signal: AbortSignal;
}

/** Tokens by the model's tokenizer, kept up to date while it works, so that they are right however it ends. */
export interface TokenCounts {
  /** Tokens of the prompt, the template's included; 0 until its evaluation begins. */
  promptTokens: number;
  /** Tokens of the prompt that were in the sequence already. */
  cachedTokens: number;
  /** Tokens that the model chose, the one that ends its turn included. */
  completionTokens: number;
}

export const noTokens = (): TokenCounts => ({ promptTokens: 0, cachedTokens: 0, completionTokens: 0 });

/** How a generation ended. */
export interface GenerationEnd extends Readonly<TokenCounts> {
  readonly finishReason: "stop" | "length";
}

// Prompt tokens that are evaluated between two looks at the signal: about a quarter of a second on two cores.
const promptPieceTokens = 64;

/** Tokens of prompt and answer that fit into the sequence, or an error when the prompt leaves no room for one. */
export function answerRoom(sequence: LlamaContextSequence, promptTokens: number): number {
  // The last token that is generated is never evaluated, so it needs no room; llama.cpp keeps one cell free.
  const room = sequence.contextSize - promptTokens;
  if (room < 1) {
    throw new EctusError("context_length_exceeded", {
      param: "messages",
      contextTokens: sequence.contextSize - 1,
      requestedTokens: promptTokens,
    });
  }
  return room;
}

/**
 * Yields text as it comes, whole characters only, never a part of a stop text. Nothing is generated ahead of the
 * reader.
 *
 * @throws the signal's reason within one token of its abort
 */
export async function* generateText(
  options: GenerationOptions,
): AsyncGenerator<string, GenerationEnd, undefined> {
  const { model, sequence, settings, counts, signal } = options;
  const prompt = [...options.prompt];
  const limit = Math.min(settings.maxTokens ?? Number.POSITIVE_INFINITY, answerRoom(sequence, prompt.length));
  const text = createTokenText((tokens, before) => model.detokenize(tokens, false, before));
  const stop = createStopFilter(settings.stops);
  const generated: Token[] = [];
  await loadPrompt(options, prompt);
  const end = (finishReason: GenerationEnd["finishReason"]): GenerationEnd => ({ finishReason, ...counts });

  const tokens = sequence.evaluate(prompt.slice(sequence.nextTokenIndex), {
    temperature: settings.temperature,
    topP: settings.topP,
    topK: 0,
    minP: 0,
    seed: settings.seed,
    yieldEogToken: true,
    ...(options.grammar !== undefined && { grammarEvaluationState: options.grammar }),
    ...(settings.frequencyPenalty !== 0 || settings.presencePenalty !== 0
      ? {
          repeatPenalty: {
            punishTokens: () => generated,
            penalty: 1,
            frequencyPenalty: settings.frequencyPenalty,
            presencePenalty: settings.presencePenalty,
          },
        }
      : {}),
  });
  try {
    for await (const token of tokens) {
      counts.completionTokens += 1;
      signal.throwIfAborted();
      generated.push(token);
      if (model.isEogToken(token)) {
        const { text: piece, stopped } = stop.push(text.end());
        const rest = stopped ? piece : piece + stop.end();
        if (rest !== "") yield rest;
        return end("stop");
      }
      const { text: piece, stopped } = stop.push(text.push(token));
      if (piece !== "") yield piece;
      if (stopped) return end("stop");
      if (generated.length >= limit) break;
      signal.throwIfAborted();
    }
  } finally {
    await tokens.return();
  }
  const { text: piece, stopped } = stop.push(text.end());
  const rest = stopped ? piece : piece + stop.end();
  if (rest !== "") yield rest;
  return end(stopped ? "stop" : "length");
}

/** Evaluates all of the prompt but its end. */
async function loadPrompt(options: GenerationOptions, prompt: Token[]): Promise<void> {
  const { sequence, counts, signal } = options;
  signal.throwIfAborted();
  counts.promptTokens = prompt.length;
  if (options.reuse) await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
  else await sequence.clearHistory();
  counts.cachedTokens = sequence.nextTokenIndex;
  while (prompt.length - sequence.nextTokenIndex > promptPieceTokens) {
    signal.throwIfAborted();
    const from = sequence.nextTokenIndex;
    await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(from, from + promptPieceTokens));
  }
  signal.throwIfAborted();
}
