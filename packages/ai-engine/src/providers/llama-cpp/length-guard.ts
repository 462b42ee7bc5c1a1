// Refuses a text that is too long whatever its tokens are, before it is tokenized: that takes about half a second for a
// million characters, and nothing else runs meanwhile.
import { EctusError } from "@ectus/core";
import type { LlamaModel } from "node-llama-cpp";

/** @returns a check of a text's length in characters; it throws `context_length_exceeded` that names `param` */
export function createLengthGuard(
  model: Pick<LlamaModel, "fileInfo">,
  contextTokens: number,
  param: string,
): (characters: number) => void {
  const vocabulary = model.fileInfo.metadata.tokenizer?.ggml?.tokens ?? [];
  const longestToken = vocabulary.reduce((longest, token) => Math.max(longest, token.length), 0);
  return (characters) => {
    if (longestToken === 0) return;
    const leastTokens = Math.ceil(characters / longestToken);
    if (leastTokens <= contextTokens) return;
    throw new EctusError("context_length_exceeded", {
      param,
      contextTokens,
      requestedTokens: `at least ${leastTokens}`,
    });
  };
}
