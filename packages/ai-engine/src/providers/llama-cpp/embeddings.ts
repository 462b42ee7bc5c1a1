// Embeddings from the built-in model: the mean over a text's tokens, brought to length 1.
import { EctusError } from "@ectus/core";
import type { Token } from "node-llama-cpp";
import type { EmbeddingsRequest, EmbeddingsResponse } from "../../embeddings.ts";
import type { LoadedModel } from "./loaded-model.ts";

/**
 * @param signal aborted with the error to throw; looked at before each input
 * @throws EctusError `invalid_request`, or `context_length_exceeded` for an input longer than a batch
 */
export async function embedInputs(
  loaded: LoadedModel,
  request: EmbeddingsRequest,
  signal: AbortSignal,
): Promise<EmbeddingsResponse> {
  const { model } = loaded;
  const size = model.embeddingVectorSize;
  if ((request.dimensions ?? size) !== size) {
    throw new EctusError("invalid_request", {
      param: "dimensions",
      reason: `The model '${request.model}' makes vectors of ${size} dimensions; no other number is supported.`,
    });
  }
  const inputs = readInputs(loaded, request.input);
  const context = await loaded.embeddings();
  const lengths = inputs.map((input) => context.calculateInputLength([...input]));
  const longest = Math.max(...lengths);
  if (longest > loaded.embeddingTokens) {
    throw new EctusError("context_length_exceeded", {
      param: "input",
      contextTokens: loaded.embeddingTokens,
      requestedTokens: longest,
    });
  }
  const data: EmbeddingsResponse["data"][number][] = [];
  for (const [index, input] of inputs.entries()) {
    signal.throwIfAborted();
    const { vector } = await context.getEmbeddingFor([...input]);
    const unit = normalize(vector);
    data.push({
      object: "embedding",
      index,
      embedding: request.encoding_format === "base64" ? toBase64(unit) : unit,
    });
  }
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  return {
    object: "list",
    data,
    model: request.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

/** The vector at length 1; one that is all zeros stays as it is. */
function normalize(vector: readonly number[]): number[] {
  const length = Math.hypot(...vector);
  return length === 0 ? [...vector] : vector.map((value) => value / length);
}

/** Base64 of the numbers as 32-bit floats, little-endian, as OpenAI's clients decode it. */
function toBase64(vector: readonly number[]): string {
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((value, index) => {
    bytes.writeFloatLE(value, index * 4);
  });
  return bytes.toString("base64");
}

function readInputs(
  { model, refuseTooLongInput }: LoadedModel,
  input: EmbeddingsRequest["input"],
): (readonly Token[])[] {
  const isTokens = (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "number");
  const items: readonly unknown[] = typeof input === "string" || isTokens(input) ? [input] : input;
  const vocabulary = model.fileInfo.metadata.tokenizer?.ggml.tokens.length ?? 0;
  const refuse = (index: number, what: string): never => {
    throw new EctusError("invalid_request", {
      param: "input",
      reason: `Input ${index} ${what}.`,
    });
  };
  if (items.length === 0) refuse(0, "is missing: send at least one text");
  return items.map((item, index) => {
    if (typeof item === "string") {
      refuseTooLongInput(item.length);
      const tokens = model.tokenize(item, false);
      return tokens.length > 0 ? tokens : refuse(index, "is empty");
    }
    if (!isTokens(item)) return refuse(index, "is neither a text nor a list of token ids");
    const wrong = item.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary);
    if (wrong !== undefined)
      refuse(index, `has the token id ${wrong}; this model knows 0 to ${vocabulary - 1}`);
    return item as Token[];
  });
}
