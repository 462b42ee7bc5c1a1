// POST /v1/embeddings.
import type { EmbeddingsRequest, Engine } from "@ectus/ai-engine";
import Type, { type Static } from "typebox";
import type { Accounting } from "../accounting.ts";
import type { App } from "../app.ts";
import { callerOf } from "../caller.ts";
import type { ClientSignals } from "../client-signal.ts";
import { endFailedCall } from "../failed-call.ts";
import { inferenceAnswered } from "../middleware/gateway-overhead.ts";
import { errorAnswers, Nullable } from "../schemas.ts";
import { findModel } from "./chat-completions.ts";

const TokenIds = Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1, maxItems: 8192 });

const EmbeddingsBody = Type.Object(
  {
    model: Type.String({ minLength: 1, maxLength: 256 }),
    input: Type.Union([
      Type.String({ minLength: 1 }),
      Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 2048 }),
      TokenIds,
      Type.Array(TokenIds, { minItems: 1, maxItems: 2048 }),
    ]),
    encoding_format: Type.Optional(Nullable(Type.Enum(["float", "base64"]))),
    dimensions: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 65_536 }))),
    user: Type.Optional(Nullable(Type.String({ maxLength: 512 }))),
  },
  { additionalProperties: true },
);

const EmbeddingsAnswer = Type.Unsafe<object>(
  Type.Object({
    object: Type.Literal("list"),
    model: Type.String(),
    data: Type.Array(
      Type.Object({
        object: Type.Literal("embedding"),
        index: Type.Integer(),
        embedding: Type.Union([
          Type.Array(Type.Number()),
          Type.String({ description: "base64 of 32-bit floats" }),
        ]),
      }),
    ),
  }),
);

// Tokens that a tokenizer may add to each input.
const tokensPerInput = 4;

export interface EmbeddingsOptions {
  readonly engine: Engine;
  readonly accounting: Accounting;
  readonly signals: ClientSignals;
}

export function addEmbeddings(app: App, { engine, accounting, signals }: EmbeddingsOptions): void {
  app.post(
    "/v1/embeddings",
    {
      config: { scope: "inference", slowAfter: "inference" },
      schema: {
        tags: ["Embeddings"],
        summary: "Turns texts into vectors",
        body: EmbeddingsBody,
        response: { "2xx": EmbeddingsAnswer, ...errorAnswers },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const model = findModel(engine, body.model);
      const account = await accounting({
        caller: callerOf(request),
        requestId: request.id,
        operation: "embeddings",
        model,
        tokens: mostTokens(body, request.bodyBytes),
        streamed: false,
      });
      const signal = signals.of(reply);
      const { correlationId } = request.context;
      const answer = await engine
        .embed(toProviderRequest(body), { signal, correlationId })
        .catch((error) => endFailedCall(account, error, signal));
      answer.response.model = body.model;
      await account.settle({ answeredBy: answer, outcome: "completed", usage: answer.usage });
      inferenceAnswered(reply, {
        operation: "embeddings",
        providerMs: answer.providerMs,
        clientMs: 0,
      });
      return answer.response;
    },
  );
}

/** Providers know no null where they expect a text. */
function toProviderRequest({ user, ...body }: Static<typeof EmbeddingsBody>): EmbeddingsRequest {
  return user == null ? body : { ...body, user };
}

/** A token stands for at least one byte of the body, be it text or a token's id. */
function mostTokens({ input }: Static<typeof EmbeddingsBody>, bodyBytes: number): number {
  return bodyBytes + tokensPerInput * (Array.isArray(input) ? input.length : 1);
}
