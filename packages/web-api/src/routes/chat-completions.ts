// POST /v1/chat/completions: reserves, asks the engine, settles, and only then shows the end of the answer.
import type { ServerResponse } from "node:http";
import type {
  AnsweredBy,
  ChatCompletion,
  ChatCompletionChunk,
  ChatRequest,
  ChatStreamResult,
  Engine,
  ModelInfo,
  ResponseFormat,
} from "@ectus/ai-engine";
import { type TokenUsage, toTokenUsage } from "@ectus/ai-engine";
import { EctusError, type Logger } from "@ectus/core";
import type { FastifyReply } from "fastify";
import type { Account, Accounting } from "../accounting.ts";
import type { App } from "../app.ts";
import { callerOf } from "../caller.ts";
import { ChatBody, ChatCompletionAnswer, checkChatBody } from "../chat-body.ts";
import { createChunkAccumulator } from "../chunk-accumulator.ts";
import type { ClientSignals } from "../client-signal.ts";
import { checkStorable, completionRecord } from "../completion-record.ts";
import { type EventStream, openEventStream } from "../event-stream.ts";
import { abortedOutcome, endFailedCall, isAborted } from "../failed-call.ts";
import { loggableError } from "../loggable-error.ts";
import { inferenceAnswered } from "../middleware/gateway-overhead.ts";
import { noteBroken } from "../middleware/request-outcome.ts";
import { publicId } from "../public-ids.ts";
import { errorAnswers } from "../schemas.ts";
import { reserveForChat } from "../token-reservation.ts";

export interface ChatCompletionsOptions {
  readonly engine: Engine;
  readonly accounting: Accounting;
  readonly signals: ClientSignals;
  /** How long a stream's client may take nothing. */
  readonly stallMs: number;
  readonly log: Logger;
}

interface Call {
  readonly body: ChatBody;
  readonly request: ChatRequest;
  readonly model: ModelInfo;
  readonly tenantId: string;
  readonly account: Account;
  readonly signal: AbortSignal;
  readonly correlationId: string;
}

// What follows the end of an answer is a chunk with its usage and no more.
const mostHeld = { chunks: 256, characters: 8 * 1024 * 1024 };

export function addChatCompletions(app: App, options: ChatCompletionsOptions): void {
  const { engine, accounting, signals, stallMs, log } = options;

  app.post(
    "/v1/chat/completions",
    {
      config: { scope: "inference", slowAfter: "inference" },
      schema: {
        tags: ["Chat"],
        summary: "Creates an answer to a conversation, at once or as a stream of server-sent events",
        body: ChatBody,
        response: { "2xx": ChatCompletionAnswer, ...errorAnswers },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const caller = callerOf(request);
      const model = findModel(engine, body.model);
      const responseFormat = checkChatBody(body);
      if (body.store === true) checkStorable(body, request.bodyBytes);
      const { tokens, outputTokens } = reserveForChat(body, request.bodyBytes, model);
      const account = await accounting({
        caller,
        requestId: request.id,
        operation: "chat",
        model,
        tokens,
        streamed: body.stream === true,
      });
      const call: Call = {
        body,
        request: toProviderRequest(
          body,
          responseFormat,
          caller.monthlyTokenBudget !== null && isBoundedByRequest(model) ? outputTokens : null,
        ),
        model,
        tenantId: caller.tenantId,
        account,
        signal: signals.of(reply),
        correlationId: request.context.correlationId,
      };
      return body.stream === true ? stream(call, reply) : complete(call, reply);
    },
  );

  async function complete(call: Call, reply: FastifyReply): Promise<object> {
    const { body, account, signal, correlationId } = call;
    const answer = await engine
      .chat(call.request, { signal, correlationId })
      .catch((error) => endFailedCall(account, error, signal));
    const { completion, usage, providerMs } = answer;
    completion.id = publicId("chatcmpl-", account.id);
    completion.model = body.model;
    await settleWhole(call, answer, usage, () => completion);
    inferenceAnswered(reply, { operation: "chat", providerMs, clientMs: 0 });
    return completion;
  }

  async function stream(call: Call, reply: FastifyReply): Promise<FastifyReply> {
    const { account, signal, correlationId } = call;
    const answer = await engine
      .streamChat(call.request, { signal, correlationId })
      .catch((error) => endFailedCall(account, error, signal));
    reply.hijack();
    copyHeaders(reply, reply.raw);
    const events = openEventStream(reply.raw, signal, stallMs);
    try {
      await relay(call, answer, events);
      events.end();
      const { waitedMs: clientMs } = events;
      inferenceAnswered(reply, { operation: "chat", providerMs: answer.providerMs(), clientMs });
    } catch (error) {
      const fault =
        error instanceof EctusError ? error : new EctusError("internal_error", {}, { cause: error });
      if (!isAborted(fault)) {
        noteBroken(reply.raw, fault.code);
        log.warn(loggableError(error), "stream broken off");
      }
      // The end of a stream that failed is an error event and no [DONE], so that nobody takes it for a whole answer.
      events.fail(fault.toBody());
    }
    return reply;
  }

  /** Passes chunks on as they come, but holds back the end until it is settled. */
  async function relay(call: Call, answer: ChatStreamResult, events: EventStream): Promise<void> {
    const { body, account, signal } = call;
    const id = publicId("chatcmpl-", account.id);
    const accumulator = createChunkAccumulator({ id, model: body.model }, answer.provider);
    const choices = body.n ?? 1;
    const wantsUsage = body.stream_options?.include_usage === true;
    const held: string[] = [];
    let heldCharacters = 0;
    const finished = new Set<number>();
    let usage: TokenUsage | null = null;
    try {
      for await (const chunk of answer.chunks) {
        chunk.id = id;
        chunk.model = body.model;
        if (body.store === true) accumulator.add(chunk);
        if (chunk.usage != null) usage = toTokenUsage(chunk.usage);
        for (const choice of chunk.choices) if (choice.finish_reason != null) finished.add(choice.index);
        const data = toEvent(chunk, wantsUsage);
        if (data === undefined) continue;
        if (finished.size < choices) {
          await events.send(data);
        } else {
          heldCharacters += data.length;
          if (held.push(data) > mostHeld.chunks || heldCharacters > mostHeld.characters)
            throw endless(answer);
        }
      }
    } catch (error) {
      const outcome = signal.aborted ? abortedOutcome(signal) : "interrupted";
      await account.settle({ answeredBy: answer, outcome, usage: usage ?? answer.usageSoFar() });
      throw signal.aborted ? signal.reason : error;
    }
    await settleWhole(call, answer, usage, accumulator.completion);
    for (const data of held) await events.send(data);
    await events.send("[DONE]");
  }
}

/** Commits a call that brought its whole answer, and the completion if it is to be stored. */
async function settleWhole(
  { body, account, tenantId }: Call,
  answeredBy: AnsweredBy,
  usage: TokenUsage | null,
  completionOf: () => ChatCompletion,
): Promise<void> {
  if (body.store !== true) {
    await account.settle({ answeredBy, outcome: "completed", usage });
    return;
  }
  let completion: ReturnType<typeof completionRecord>;
  try {
    completion = completionRecord({
      provider: answeredBy.provider,
      tenantId,
      id: account.id,
      createdAt: account.startedAt,
      body,
      completion: completionOf(),
    });
  } catch (error) {
    await account.settle({ answeredBy, outcome: "interrupted", usage });
    throw error;
  }
  await account.settle({ answeredBy, outcome: "completed", usage, completion });
}

function endless({ provider }: AnsweredBy): EctusError {
  return new EctusError("stream_interrupted", { provider, reason: "it went on after the end of the answer" });
}

/** @throws EctusError `model_not_found` */
export function findModel(engine: Engine, id: string): ModelInfo {
  const model = engine.model(id);
  if (model === undefined) throw new EctusError("model_not_found", { model: id, param: "model" });
  return model;
}

/** Whether a provider has to be told the bound of an answer: its context bounds it without a word. */
function isBoundedByRequest({ maxOutputTokens, contextTokens }: ModelInfo): boolean {
  return maxOutputTokens !== null || contextTokens === null;
}

/**
 * The provider is not told what is between the client and this platform, but the bound that the budget counts on.
 * A null that means "left out" is left out, since not every provider knows it.
 */
function toProviderRequest(
  { store, metadata, user, tools, response_format, ...body }: ChatBody,
  responseFormat: ResponseFormat | undefined,
  outputTokens: number | null,
): ChatRequest {
  const unbounded = body.max_completion_tokens == null && body.max_tokens == null;
  return {
    ...body,
    ...(user == null ? {} : { user }),
    ...(tools == null ? {} : { tools }),
    ...(responseFormat === undefined ? {} : { response_format: responseFormat }),
    ...(unbounded && outputTokens !== null ? { max_tokens: outputTokens } : {}),
  };
}

function toEvent(chunk: ChatCompletionChunk, wantsUsage: boolean): string | undefined {
  if (wantsUsage) return JSON.stringify(chunk);
  if (chunk.choices.length === 0 && chunk.usage != null) return undefined;
  delete chunk.usage;
  return JSON.stringify(chunk);
}

function copyHeaders(reply: FastifyReply, response: ServerResponse): void {
  for (const [name, value] of Object.entries(reply.getHeaders()))
    if (value !== undefined) response.setHeader(name, value);
}
