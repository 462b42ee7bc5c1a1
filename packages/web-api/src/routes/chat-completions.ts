// POST /v1/chat/completions: reserves, asks the engine, settles, and only then shows the end of the answer.
import type { ServerResponse } from "node:http";
import type { ChatCompletionChunk, ChatRequest, ChatStreamResult, Engine, ModelInfo } from "@ectus/ai-engine";
import { type TokenUsage, toTokenUsage } from "@ectus/ai-engine";
import { EctusError, type Logger } from "@ectus/core";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Account, Accounting } from "../accounting.ts";
import type { App } from "../app.ts";
import { callerOf } from "../caller.ts";
import { ChatBody, ChatCompletionAnswer } from "../chat-body.ts";
import { createChunkAccumulator } from "../chunk-accumulator.ts";
import { clientSignal } from "../client-signal.ts";
import { checkStorable, completionRecord } from "../completion-record.ts";
import { type EventStream, openEventStream } from "../event-stream.ts";
import { newUuid, publicId } from "../public-ids.ts";
import { errorAnswers } from "../schemas.ts";
import { reserveForChat } from "../token-reservation.ts";

export interface ChatCompletionsOptions {
  readonly engine: Engine;
  readonly accounting: Accounting;
  readonly log: Logger;
}

interface Call {
  readonly body: ChatBody;
  readonly request: ChatRequest;
  readonly model: ModelInfo;
  readonly tenantId: string;
  /** UUID of the completion. */
  readonly id: string;
  readonly account: Account;
  readonly signal: AbortSignal;
  readonly correlationId: string;
}

export function addChatCompletions(app: App, { engine, accounting, log }: ChatCompletionsOptions): void {
  app.post(
    "/v1/chat/completions",
    {
      config: { scope: "inference" },
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
      if (body.store === true) checkStorable(body);
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
        request: toProviderRequest(body, caller.monthlyTokenBudget === null ? null : outputTokens),
        model,
        tenantId: caller.tenantId,
        id: newUuid(),
        account,
        signal: clientSignal(request, reply),
        correlationId: request.context.correlationId,
      };
      return body.stream === true ? stream(call, request, reply) : complete(call);
    },
  );

  async function complete(call: Call): Promise<object> {
    const { body, account, signal, correlationId, tenantId, id } = call;
    const answer = await engine.chat(call.request, { signal, correlationId }).catch((error) => {
      account.drop();
      throw error;
    });
    const completion = answer.completion;
    completion.id = publicId("chatcmpl-", id);
    completion.model = body.model;
    await account.settle({
      answeredBy: answer,
      outcome: "completed",
      usage: answer.usage,
      ...(body.store === true
        ? { completion: completionRecord({ tenantId, id, createdAt: account.startedAt, body, completion }) }
        : {}),
    });
    return completion;
  }

  async function stream(call: Call, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { account, signal, correlationId } = call;
    const answer = await engine.streamChat(call.request, { signal, correlationId }).catch((error) => {
      account.drop();
      throw error;
    });
    reply.hijack();
    copyHeaders(reply, reply.raw);
    const events = openEventStream(reply.raw, signal);
    try {
      await relay(call, answer, events);
    } catch (error) {
      if (!(error instanceof EctusError && error.code === "client_closed_request")) {
        const fault =
          error instanceof EctusError ? error : new EctusError("internal_error", {}, { cause: error });
        log.warn({ err: error, ...request.context }, "stream broken off");
        // The end of a stream that failed is an error event and no [DONE], so that nobody takes it for a whole answer.
        if (!signal.aborted)
          await Promise.resolve(events.send(JSON.stringify(fault.toBody()))).catch(() => {});
      }
    }
    events.end();
    return reply;
  }

  /** Passes chunks on as they come, but holds back the end until it is settled. */
  async function relay(call: Call, answer: ChatStreamResult, events: EventStream): Promise<void> {
    const { body, account, tenantId } = call;
    const id = publicId("chatcmpl-", call.id);
    const accumulator = body.store === true ? createChunkAccumulator({ id, model: body.model }) : undefined;
    const choices = body.n ?? 1;
    const wantsUsage = body.stream_options?.include_usage === true;
    const held: string[] = [];
    let finished = 0;
    let usage: TokenUsage | null = null;
    try {
      for await (const chunk of answer.chunks) {
        chunk.id = id;
        chunk.model = body.model;
        accumulator?.add(chunk);
        if (chunk.usage != null) usage = toTokenUsage(chunk.usage);
        for (const choice of chunk.choices) if (choice.finish_reason != null) finished++;
        const data = toEvent(chunk, wantsUsage);
        if (data === undefined) continue;
        if (finished >= choices) held.push(data);
        else await events.send(data);
      }
    } catch (error) {
      const closed = error instanceof EctusError && error.code === "client_closed_request";
      await account.settle({ answeredBy: answer, outcome: closed ? "client_closed" : "interrupted", usage });
      throw error;
    }
    const completion =
      accumulator === undefined
        ? {}
        : {
            completion: completionRecord({
              tenantId,
              id: call.id,
              createdAt: account.startedAt,
              body,
              completion: accumulator.completion(),
            }),
          };
    await account.settle({ answeredBy: answer, outcome: "completed", usage, ...completion });
    for (const data of held) await events.send(data);
    await events.send("[DONE]");
  }
}

/** @throws EctusError `model_not_found` */
export function findModel(engine: Engine, id: string): ModelInfo {
  const model = engine.model(id);
  if (model === undefined) throw new EctusError("model_not_found", { model: id, param: "model" });
  return model;
}

/** The provider is not told what is between the client and this platform, but the bound that the budget counts on. */
function toProviderRequest({ store, metadata, ...body }: ChatBody, outputTokens: number | null): ChatRequest {
  if (outputTokens === null || body.max_completion_tokens != null || body.max_tokens != null) return body;
  return { ...body, max_tokens: outputTokens };
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
