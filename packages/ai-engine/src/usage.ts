// Tokens as the provider counted them, and what they cost by the model's price, in exact integers.
import type { CompletionUsage } from "./chat.ts";
import type { EmbeddingsResponse } from "./embeddings.ts";

export interface TokenUsage {
  /** All tokens of the request, the cached ones among them. */
  readonly inputTokens: number;
  /** All tokens of the answer, the reasoning ones among them. */
  readonly outputTokens: number;
  readonly cachedTokens: number;
  readonly reasoningTokens: number;
}

/** US dollars per million tokens, with at most six decimals. */
export interface ModelPrice {
  readonly inputPerMillionUsd: number;
  readonly outputPerMillionUsd: number;
  /** Of input tokens that the provider had in its cache; without it they cost as others do. */
  readonly cachedInputPerMillionUsd?: number | undefined;
}

/** The provider's count, or null if it gave none or one that cannot be true. */
export function toTokenUsage(usage: CompletionUsage | null | undefined): TokenUsage | null {
  if (usage === null || typeof usage !== "object") return null;
  const inputTokens = usage.prompt_tokens;
  const outputTokens = usage.completion_tokens;
  const cachedTokens = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const reasoningTokens = usage.completion_tokens_details?.reasoning_tokens ?? 0;
  return isCount(inputTokens) && isCount(outputTokens) && isCount(cachedTokens) && isCount(reasoningTokens)
    ? { inputTokens, outputTokens, cachedTokens, reasoningTokens }
    : null;
}

/** The same for embeddings, whose answers have no tokens. */
export function toEmbeddingUsage(usage: EmbeddingsResponse["usage"]): TokenUsage | null {
  return usage !== null && typeof usage === "object" && isCount(usage.prompt_tokens)
    ? { inputTokens: usage.prompt_tokens, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 }
    : null;
}

/**
 * The cost in US dollars as a decimal number for a NUMERIC column, such as "0.00345", or null if the price or the
 * usage is unknown.
 *
 * A price per million tokens with six decimals is a whole number of picodollars a token, so that sums in BigInt are
 * exact; nanodollars would lose the last three decimals of cheap models.
 */
export function costUsd(
  price: ModelPrice | null | undefined,
  usage: TokenUsage | null | undefined,
): string | null {
  if (price == null || usage == null) return null;
  const cached = Math.min(usage.cachedTokens, usage.inputTokens);
  const picodollars =
    BigInt(usage.inputTokens - cached) * perToken(price.inputPerMillionUsd) +
    BigInt(cached) * perToken(price.cachedInputPerMillionUsd ?? price.inputPerMillionUsd) +
    BigInt(usage.outputTokens) * perToken(price.outputPerMillionUsd);
  const digits = picodollars.toString().padStart(13, "0");
  const decimals = digits.slice(-12).replace(/0+$/, "");
  const whole = digits.slice(0, -12);
  return decimals === "" ? whole : `${whole}.${decimals}`;
}

function perToken(perMillionUsd: number): bigint {
  return BigInt(Math.round(perMillionUsd * 1e6));
}

// The count is stored as a 32-bit integer, and no request has two thousand million tokens.
function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 2_147_483_647;
}
