// Where the answer of a model begins in a stream of chunks.
import type { ChatCompletionChunk } from "./chat.ts";

/** Where servers put what a model says: OpenAI, and for its thoughts vLLM, DeepSeek and OpenRouter. */
const tokenFields = [
  "content",
  "reasoning_content",
  "reasoning",
  "reasoning_details",
  "tool_calls",
  "function_call",
  "refusal",
  "audio",
];

/** Whether a chunk has anything that the model said. The first one often names the role only, with an empty content. */
export function hasToken({ choices }: ChatCompletionChunk): boolean {
  // Providers vouch for the choices, not for what is in them.
  return choices.some(({ delta }) => tokenFields.some((field) => !isEmpty(delta?.[field])));
}

function isEmpty(value: unknown): boolean {
  return value == null || value === "" || (Array.isArray(value) && value.length === 0);
}
