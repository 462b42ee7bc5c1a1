// What POST /v1/chat/completions accepts. Fields that are not named here go on to the provider as they are.
import type { ResponseFormat } from "@ectus/ai-engine";
import { EctusError } from "@ectus/core";
import Type, { type Static } from "typebox";
import { Nullable } from "./schemas.ts";

// Tokens are counted in 32 bits where usage is kept.
const Tokens = Type.Integer({ minimum: 1, maximum: 2_147_483_647 });

/** Up to 16 pairs, as OpenAI's API allows. */
export const Metadata = Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 512 }), {
  maxProperties: 16,
});

const ChatMessage = Type.Object(
  {
    role: Type.Enum(["system", "developer", "user", "assistant", "tool", "function"]),
    content: Type.Optional(
      Type.Union([
        Type.String(),
        Type.Array(Type.Object({ type: Type.String(), text: Type.Optional(Type.String()) }), { minItems: 1 }),
        Type.Null(),
      ]),
    ),
  },
  { additionalProperties: true },
);

export const ChatBody = Type.Object(
  {
    model: Type.String({ minLength: 1, maxLength: 256 }),
    messages: Type.Array(ChatMessage, { minItems: 1, maxItems: 4096 }),
    stream: Type.Optional(Nullable(Type.Boolean())),
    stream_options: Type.Optional(Nullable(Type.Object({ include_usage: Type.Optional(Type.Boolean()) }))),
    store: Type.Optional(Nullable(Type.Boolean())),
    metadata: Type.Optional(Nullable(Metadata)),
    user: Type.Optional(Nullable(Type.String({ maxLength: 512 }))),
    safety_identifier: Type.Optional(Nullable(Type.String({ maxLength: 512 }))),
    max_tokens: Type.Optional(Nullable(Tokens)),
    max_completion_tokens: Type.Optional(Nullable(Tokens)),
    temperature: Type.Optional(Nullable(Type.Number({ minimum: 0, maximum: 2 }))),
    top_p: Type.Optional(Nullable(Type.Number({ minimum: 0, maximum: 1 }))),
    n: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 128 }))),
    seed: Type.Optional(Nullable(Type.Integer())),
    stop: Type.Optional(
      Nullable(Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1, maxItems: 4 })])),
    ),
    frequency_penalty: Type.Optional(Nullable(Type.Number({ minimum: -2, maximum: 2 }))),
    presence_penalty: Type.Optional(Nullable(Type.Number({ minimum: -2, maximum: 2 }))),
    tools: Type.Optional(
      Nullable(
        Type.Array(Type.Object({ type: Type.String() }, { additionalProperties: true }), { maxItems: 128 }),
      ),
    ),
    response_format: Type.Optional(
      Type.Union([
        Type.Null(),
        Type.Object({ type: Type.Literal("text") }),
        Type.Object({ type: Type.Literal("json_object") }),
        Type.Object({
          type: Type.Literal("json_schema"),
          // Required, but by checkChatBody: a schema would name it where only the type is wrong.
          json_schema: Type.Optional(
            Type.Object(
              {
                name: Type.String({ minLength: 1, maxLength: 64 }),
                schema: Type.Optional(Type.Object({}, { additionalProperties: true })),
                strict: Type.Optional(Nullable(Type.Boolean())),
              },
              { additionalProperties: true },
            ),
          ),
        }),
      ]),
    ),
  },
  { additionalProperties: true },
);

/** A completion; what a provider adds to it passes through. */
export const ChatCompletionAnswer = Type.Unsafe<object>(
  Type.Object(
    {
      id: Type.String(),
      object: Type.Literal("chat.completion"),
      created: Type.Integer({ description: "Seconds since 1970" }),
      model: Type.String(),
      choices: Type.Array(
        Type.Object({
          index: Type.Integer(),
          message: ChatMessage,
          finish_reason: Type.Union([Type.String(), Type.Null()]),
        }),
      ),
      usage: Type.Optional(
        Type.Union([
          Type.Object({
            prompt_tokens: Type.Integer(),
            completion_tokens: Type.Integer(),
            total_tokens: Type.Integer(),
          }),
          Type.Null(),
        ]),
      ),
    },
    { additionalProperties: true },
  ),
);

export type ChatBody = Static<typeof ChatBody>;

/**
 * Refuses what no schema can say.
 *
 * @returns the response format for the provider
 * @throws EctusError `invalid_request`
 */
export function checkChatBody(body: ChatBody): ResponseFormat | undefined {
  const { max_tokens, max_completion_tokens, response_format } = body;
  // Which of the two a provider believes is not known, and the budget has to hold it.
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens) {
    const reason =
      "Send either 'max_completion_tokens' or 'max_tokens', which is its older name, but not both.";
    throw new EctusError("invalid_request", { param: "max_tokens", reason });
  }
  if (response_format == null) return undefined;
  if (response_format.type !== "json_schema") return response_format;
  const { type, json_schema } = response_format;
  if (json_schema === undefined) {
    const param = "response_format.json_schema";
    throw new EctusError("invalid_request", {
      param,
      reason: `The field '${param}' is not valid: it is missing.`,
    });
  }
  return { ...response_format, type, json_schema };
}
