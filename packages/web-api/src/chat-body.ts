// What POST /v1/chat/completions accepts. Fields that are not named here go on to the provider as they are.
import Type, { type Static } from "typebox";

const Nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** Up to 16 pairs, as OpenAI's API allows. */
export const Metadata = Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 512 }), {
  maxProperties: 16,
});

export const ChatMessage = Type.Object(
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
    user: Type.Optional(Type.String({ maxLength: 512 })),
    max_tokens: Type.Optional(Nullable(Type.Integer({ minimum: 1 }))),
    max_completion_tokens: Type.Optional(Nullable(Type.Integer({ minimum: 1 }))),
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
      Type.Array(Type.Object({ type: Type.String() }, { additionalProperties: true }), { maxItems: 128 }),
    ),
    response_format: Type.Optional(
      Type.Union([
        Type.Object({ type: Type.Literal("text") }),
        Type.Object({ type: Type.Literal("json_object") }),
        Type.Object({
          type: Type.Literal("json_schema"),
          json_schema: Type.Object(
            {
              name: Type.String({ minLength: 1, maxLength: 64 }),
              schema: Type.Optional(Type.Object({}, { additionalProperties: true })),
              strict: Type.Optional(Nullable(Type.Boolean())),
            },
            { additionalProperties: true },
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
