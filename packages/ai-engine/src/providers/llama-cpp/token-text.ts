// Turns tokens into text as they come, and holds back the bytes of a character that is not complete yet.
import type { Token } from "node-llama-cpp";

export interface TokenText {
  /** The text that became complete with this token; may be empty. */
  push(token: Token): string;
  /** What is left at the end, without the bytes of a character that was not completed. */
  end(): string;
}

export type Detokenize = (tokens: readonly Token[], before: readonly Token[]) => string;

// A character has at most four bytes in UTF-8, and a token at least one: when five tokens have not ended it, it never
// will, and the replacement character is what the model wrote.
const mostHeldTokens = 4;
const mostContextTokens = 4;

/** @param detokenize text of `tokens`, given those that went before (some tokenizers drop a leading space otherwise) */
export function createTokenText(detokenize: Detokenize): TokenText {
  let before: Token[] = [];
  let held: Token[] = [];
  const flush = (text: string) => {
    before = [...before, ...held].slice(-mostContextTokens);
    held = [];
    return text;
  };
  return {
    push(token) {
      held.push(token);
      const text = detokenize(held, before);
      return text.endsWith("\uFFFD") && held.length <= mostHeldTokens ? "" : flush(text);
    },
    end: () => (held.length === 0 ? "" : flush(detokenize(held, before).replace(/\uFFFD$/, ""))),
  };
}
