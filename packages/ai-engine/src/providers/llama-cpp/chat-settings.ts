// What of a chat request steers the built-in model, checked; what it cannot do is refused by name.
import { randomInt } from "node:crypto";
import { EctusError } from "@ectus/core";
import type { ChatRequest, ResponseFormat } from "../../chat.ts";

export interface ChatSettings {
  /** Tokens that may be generated; undefined: as many as the context holds. */
  readonly maxTokens: number | undefined;
  readonly stops: readonly string[];
  /** 0 takes the likeliest token always. */
  readonly temperature: number;
  readonly topP: number;
  /** For llama.cpp: 0 to 2^32 - 2. */
  readonly seed: number;
  /** Whether the request asked for this seed, and so for an answer that can be had again. */
  readonly seedGiven: boolean;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  readonly responseFormat: ResponseFormat;
}

// llama.cpp reads 2^32 - 1 as "a random seed".
const seeds = 2 ** 32 - 1;

/** @throws EctusError `invalid_request` that names the field which the built-in model cannot serve */
export function readChatSettings(request: ChatRequest): ChatSettings {
  refuseUnsupported(request);
  const { seed, stop } = request;
  return {
    maxTokens: request.max_completion_tokens ?? request.max_tokens ?? undefined,
    stops: typeof stop === "string" ? [stop] : (stop ?? []),
    temperature: request.temperature ?? 1,
    topP: request.top_p ?? 1,
    seed: typeof seed === "number" ? ((Math.trunc(seed) % seeds) + seeds) % seeds : randomInt(seeds),
    seedGiven: typeof seed === "number",
    frequencyPenalty: request.frequency_penalty ?? 0,
    presencePenalty: request.presence_penalty ?? 0,
    responseFormat: request.response_format ?? { type: "text" },
  };
}

function refuseUnsupported(request: ChatRequest): void {
  const refuse = (param: string, what: string, instead: string): never => {
    throw new EctusError("invalid_request", {
      param,
      reason: `The model '${request.model}' does not do ${what}. ${instead}`,
    });
  };
  const isGiven = (value: unknown) =>
    value !== undefined &&
    value !== null &&
    value !== false &&
    !(typeof value === "object" && Object.keys(value).length === 0);
  if (isGiven(request.tools)) refuse("tools", "tools", "Send the request without them.");
  if (isGiven(request.functions)) refuse("functions", "functions", "Send the request without them.");
  if ((request.n ?? 1) !== 1) refuse("n", "several choices at once", "Send n = 1, or several requests.");
  for (const param of ["logprobs", "top_logprobs", "logit_bias", "audio"]) {
    if (isGiven(request[param])) refuse(param, param, `Send the request without ${param}.`);
  }
}
