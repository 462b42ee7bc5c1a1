// Any upstream that speaks OpenAI's HTTP API: OpenAI itself, vLLM, Ollama, LiteLLM and others.
import { AsyncLocalStorage } from "node:async_hooks";
import { EctusError, type Logger } from "@ectus/core";
import { currentSpan, type SpanTemplate } from "@ectus/monitoring";
import { type Dispatcher, Pool } from "undici";
import type { ChatCompletion, ChatCompletionChunk } from "../../chat.ts";
import type { EmbeddingsResponse } from "../../embeddings.ts";
import type { CallOptions, Provider } from "../../provider.ts";
import { ChatStream } from "./chat-stream.ts";
import { ConnectionFailure, exchange, type Flow } from "./exchange.ts";
import { addTraceHeaders, exchangeTemplate, startExchangeSpan } from "./exchange-span.ts";
import { answerFailure, createMask, upstreamMessage } from "./failures.ts";
import { createRequestBodies } from "./request-body.ts";
import { type Attempt, type RetryPolicy, withRetries } from "./retry.ts";

/** Embeddings of 2,048 inputs with 3,072 numbers each take about 140 MB as text. */
const defaultMaxAnswerBytes = 192 * 1024 * 1024;
const maxErrorBytes = 1024 * 1024;
/** Shorter than the idle time after which common load balancers close (60 s and more), so few requests meet a reset. */
const keepAliveMs = 30_000;
const connectTimeoutMs = 10_000;
const maxRetryTimeMs = 5000;
const retriedStatuses = new Set([429, 502, 503, 504]);

export interface OpenAiProviderOptions {
  readonly name: string;
  /** With the version's path, as in `https://api.openai.com/v1`. */
  readonly baseUrl: string;
  readonly apiKey?: string | undefined;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Until the whole answer; of a stream, until its headers. */
  readonly timeoutMs: number;
  /** Silence within a stream that is being read, and before its first chunk. */
  readonly streamIdleTimeoutMs: number;
  /** Tries after the first one, where nothing has been given to the caller. */
  readonly retries: number;
  /** Bound of an answer that is not streamed; 192 MiB by default. */
  readonly maxAnswerBytes?: number;
  readonly log: Logger;
  readonly now?: () => number;
  /** From 0 to 1; jitters the waits between tries. */
  readonly random?: () => number;
}

/**
 * A provider over HTTP with kept-alive connections. How many calls run at a time is bounded by the engine, so the
 * pool makes a connection for each that runs.
 */
export function createOpenAiProvider(options: OpenAiProviderOptions): Provider {
  const { name, timeoutMs, streamIdleTimeoutMs, log, now = Date.now, random = Math.random } = options;
  const { maxAnswerBytes = defaultMaxAnswerBytes } = options;
  const url = new URL(options.baseUrl);
  const basePath = url.pathname.replace(/\/+$/, "");
  const chat = endpoint("chat/completions");
  const embeddings = endpoint("embeddings");
  const pool = new Pool(url.origin, {
    connections: null,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: keepAliveMs,
    connect: { timeout: Math.min(connectTimeoutMs, timeoutMs) },
  });
  // A connection outlives the call that it was made for. What is run for it must be in no call's context, which would
  // stay in memory with it and be taken for that of other calls.
  const outside = AsyncLocalStorage.snapshot();
  const dispatcher: Pick<Dispatcher, "dispatch"> = {
    dispatch: (request, handler) => outside(() => pool.dispatch(request, handler)),
  };
  const bodies = createRequestBodies(url.hostname);
  const baseHeaders = requestHeaders(options);
  const mask = createMask([options.apiKey ?? "", ...Object.values(options.headers ?? {})]);
  const policy: RetryPolicy = {
    retries: options.retries,
    withinMs: Math.min(maxRetryTimeMs, timeoutMs),
    random,
    now,
  };

  function endpoint(operation: string): Endpoint {
    const path = `${basePath}/${operation}`;
    return { path, template: exchangeTemplate(name, url, operation) };
  }

  function onRetry(error: EctusError, delayMs: number): void {
    // A failure is worth its trace also when the next try mends it. A limit is none.
    if (error.code !== "upstream_rate_limited") currentSpan()?.keep("error");
    log.warn(
      { provider: name, code: error.code, delayMs: Math.round(delayMs) },
      "upstream call is tried again",
    );
  }

  async function send(
    { path, template }: Endpoint,
    body: string,
    call: CallOptions,
    tried: number,
    openSink?: (flow: Flow) => ChatStream,
  ): Promise<Attempt<string>> {
    const span = startExchangeSpan(template, tried);
    const headers = callHeaders(baseHeaders, call.correlationId);
    addTraceHeaders(headers, span);
    try {
      const answer = await exchange(dispatcher, {
        provider: name,
        path,
        headers,
        span,
        body,
        signal: call.signal,
        timeoutMs,
        idleTimeoutMs: streamIdleTimeoutMs,
        maxAnswerBytes: openSink === undefined ? maxAnswerBytes : maxErrorBytes,
        ...(openSink === undefined ? {} : { openSink }),
      });
      if (answer.status === 200) return { ok: true, value: answer.body };
      const error = answerFailure(name, answer, mask, now);
      return { ok: false, error, retryable: retriedStatuses.has(answer.status) };
    } catch (error) {
      if (error instanceof ConnectionFailure) {
        const failure = new EctusError(
          "upstream_error",
          { provider: name, reason: error.message },
          { cause: error.cause },
        );
        return { ok: false, error: failure, retryable: true };
      }
      throw error;
    }
  }

  async function callJson<T>(
    to: Endpoint,
    request: object,
    call: CallOptions,
    isAnswer: (value: unknown) => value is T,
    what: string,
  ): Promise<T> {
    const body = JSON.stringify(request);
    const text = await withRetries(policy, call.signal, (tried) => send(to, body, call, tried), onRetry);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new EctusError(
        "upstream_error",
        { provider: name, reason: "its answer is not valid JSON" },
        { cause },
      );
    }
    if (isAnswer(value)) return value;
    const { message } = upstreamMessage(text, mask);
    throw new EctusError(
      "upstream_error",
      { provider: name, reason: `its answer is no ${what}` },
      message === undefined ? undefined : { cause: new Error(message) },
    );
  }

  return {
    name,
    chat(request, call) {
      return callJson(chat, bodies.plain(request), call, isChatCompletion, "chat completion");
    },
    async streamChat(request, call) {
      const body = JSON.stringify(bodies.stream(request));
      let stream: ChatStream | undefined;
      const openSink = (flow: Flow): ChatStream => {
        stream = new ChatStream({ provider: name, choices: request.n ?? 1, flow, mask });
        return stream;
      };
      await withRetries(policy, call.signal, (tried) => send(chat, body, call, tried, openSink), onRetry);
      if (stream === undefined)
        throw new EctusError("upstream_error", {
          provider: name,
          reason: "it did not answer with an event stream",
        });
      await stream.waitForFirst();
      return stream as AsyncIterable<ChatCompletionChunk>;
    },
    embed(request, call) {
      return callJson(
        embeddings,
        bodies.embeddings(request),
        call,
        isEmbeddingsResponse,
        "list of embeddings",
      );
    },
    async close() {
      await pool.destroy();
    },
  };
}

interface Endpoint {
  readonly path: string;
  readonly template: SpanTemplate;
}

function requestHeaders({ apiKey, headers = {} }: OpenAiProviderOptions): string[] {
  const list = ["content-type", "application/json"];
  if (apiKey !== undefined && apiKey !== "") list.push("authorization", `Bearer ${apiKey}`);
  for (const [name, value] of Object.entries(headers)) list.push(name.toLowerCase(), value);
  return list;
}

function callHeaders(base: readonly string[], correlationId: string | undefined): string[] {
  const headers = [...base];
  // undici refuses the whole request for a header that is not valid; an id that is not is left out.
  if (correlationId !== undefined && /^[\x21-\x7e]{1,200}$/.test(correlationId))
    headers.push("x-request-id", correlationId);
  return headers;
}

function isChatCompletion(value: unknown): value is ChatCompletion {
  return typeof value === "object" && value !== null && Array.isArray((value as ChatCompletion).choices);
}

function isEmbeddingsResponse(value: unknown): value is EmbeddingsResponse {
  return typeof value === "object" && value !== null && Array.isArray((value as EmbeddingsResponse).data);
}
