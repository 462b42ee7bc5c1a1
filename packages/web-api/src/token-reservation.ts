// The most tokens that a request can use, known before it starts: what its budget and rate reserve.
import type { ModelInfo } from "@ectus/ai-engine";
import type { ChatBody } from "./chat-body.ts";

// Tokens that a chat template may add by itself, as a default system message.
const templateTokens = 64;
// Where neither the request nor the model's description bounds the answer.
const defaultOutputTokens = 16_384;
const defaultContextTokens = 131_072;

export interface TokenReservation {
  /** Input and output together. */
  readonly tokens: number;
  /** Bound of one answer's tokens. */
  readonly outputTokens: number;
}

/**
 * A token of text stands for at least one byte, so a body of n bytes holds at most n tokens; images and audio are
 * bounded by the model's context alone.
 */
export function reserveForChat(body: ChatBody, bodyBytes: number, model: ModelInfo): TokenReservation {
  const wanted =
    body.max_completion_tokens ??
    body.max_tokens ??
    model.maxOutputTokens ??
    model.contextTokens ??
    defaultOutputTokens;
  // A request may ask for more than the model can write; its budget need not hold that.
  const outputTokens = Math.min(wanted, model.contextTokens ?? wanted);
  const contextTokens = model.contextTokens ?? defaultContextTokens;
  const inputTokens = isText(body) ? Math.min(bodyBytes + templateTokens, contextTokens) : contextTokens;
  const answers = body.n ?? 1;
  // Each answer shares its context with the request.
  const tokens = Math.min(inputTokens + outputTokens * answers, (model.contextTokens ?? Infinity) * answers);
  return { tokens, outputTokens };
}

function isText({ messages }: ChatBody): boolean {
  return messages.every(
    ({ content }) => !Array.isArray(content) || content.every(({ type }) => type === "text"),
  );
}
