// What a providers file may say, as TypeBox schemas. The description of a value completes "accepts …" in a fault, and
// default values are those of providers-file.ts.
import Type from "typebox";

const closed = { additionalProperties: false } as const;

const text = (description: string, maxLength = 1024) =>
  Type.String({ minLength: 1, maxLength, pattern: "^[^\\u0000-\\u001f\\u007f]*$", description });

const whole = (minimum: number, maximum: number, what: string) =>
  Type.Integer({ minimum, maximum, description: `${what}, a whole number from ${minimum} to ${maximum}` });

const price = (what: string) =>
  Type.Refine(
    Type.Number({
      minimum: 0,
      maximum: 1_000_000,
      description: `US dollars per million ${what} tokens, from 0 to 1000000 with at most six decimals`,
    }),
    // Six decimals a million tokens are whole picodollars a token, in which costs are summed exactly.
    (value) => Number(value.toFixed(6)) === value,
  );

const timeout = (what: string) => whole(1, 3_600_000, `milliseconds ${what}`);

export const openAiSchema = Type.Object(
  {
    type: Type.Literal("openai"),
    baseUrl: Type.Refine(
      Type.String({
        description:
          "an http or https URL with the version's path and without credentials or query, such as https://api.openai.com/v1",
      }),
      isBaseUrl,
    ),
    // A header value: anything else, such as a line feed at a key's end, would fail at each call.
    apiKey: Type.Optional(
      Type.String({
        pattern: "^[\\u0021-\\u007e]+$",
        maxLength: 4096,
        description: "a key of printable ASCII characters, usually from an environment variable",
      }),
    ),
    headers: Type.Optional(
      Type.Record(
        Type.String(),
        Type.String({
          pattern: "^[\\u0020-\\u007e]*$",
          maxLength: 4096,
          description: "printable ASCII text",
        }),
      ),
    ),
    timeoutMs: Type.Optional(timeout("until an answer, or a stream's headers")),
    streamIdleTimeoutMs: Type.Optional(timeout("of silence within a stream")),
    maxConcurrent: Type.Optional(whole(1, 100_000, "calls that run at a time")),
    queue: Type.Optional(whole(0, 100_000, "calls that may wait")),
    retries: Type.Optional(whole(0, 10, "tries after the first one")),
  },
  closed,
);

export const llamaCppSchema = Type.Object(
  {
    type: Type.Literal("llama.cpp"),
    models: Type.Record(Type.String(), text("the path of a GGUF file")),
    sequences: Type.Optional(whole(1, 256, "calls that run at a time")),
    queue: Type.Optional(whole(0, 100_000, "calls that may wait")),
    contextTokens: Type.Optional(whole(64, 10_000_000, "tokens that one sequence holds")),
    preload: Type.Optional(Type.Boolean({ description: "true or false" })),
  },
  closed,
);

export const modelSchema = Type.Object(
  {
    operations: Type.Array(
      Type.Union([Type.Literal("chat"), Type.Literal("embeddings")], { description: "chat or embeddings" }),
      { minItems: 1, uniqueItems: true, description: "a list of chat, embeddings or both" },
    ),
    contextTokens: Type.Optional(whole(1, 1_000_000_000, "tokens of request and answer")),
    maxOutputTokens: Type.Optional(whole(1, 1_000_000_000, "tokens of an answer")),
    ownedBy: Type.Optional(text("a name", 128)),
    price: Type.Optional(
      Type.Object(
        {
          inputPerMillionUsd: price("input"),
          outputPerMillionUsd: Type.Optional(price("output")),
          cachedInputPerMillionUsd: Type.Optional(price("cached input")),
        },
        closed,
      ),
    ),
    routes: Type.Array(
      Type.Object(
        {
          provider: text("the name of a provider of this file", 128),
          model: text("the provider's name of the model", 256),
        },
        closed,
      ),
      {
        minItems: 1,
        description: "a list of at least one { provider, model }, in the order in which they are tried",
      },
    ),
  },
  closed,
);

export type OpenAiEntry = Type.Static<typeof openAiSchema>;
export type LlamaCppEntry = Type.Static<typeof llamaCppSchema>;
export type ModelEntry = Type.Static<typeof modelSchema>;

function isBaseUrl(value: string): boolean {
  const url = URL.parse(value);
  return (
    url !== null &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === ""
  );
}
