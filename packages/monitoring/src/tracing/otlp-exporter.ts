// What sends spans to Jaeger or an OpenTelemetry Collector: OTLP over HTTP, as protobuf.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
// OpenTelemetry's own exporter keeps the number of rejected spans to itself, and does not wait for as long as a receiver
// asks; its serializer does the work here, too.
import { Agent, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps, Agent as TlsAgent } from "node:https";
import { setImmediate as nextTurn } from "node:timers/promises";
import { context } from "@opentelemetry/api";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { Delivery, SpanExporter } from "./span-exporter.ts";
import { isSuppressed } from "./suppressed.ts";

export interface OtlpExporterOptions {
  /** As in `http://localhost:4318`; `/v1/traces` is added to its path. A user and password are sent as basic auth. */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  /** How long the receiver may take to answer. */
  readonly timeoutMs?: number;
}

/** Of an answer; it says how many spans were rejected, and little more. */
const mostAnswerBytes = 65_536;
const defaultTimeoutMs = 10_000;
/** https://opentelemetry.io/docs/specs/otlp/#failures-1 */
const retryable = new Set([429, 502, 503, 504]);

export function createOtlpExporter(options: OtlpExporterOptions): SpanExporter {
  const { endpoint, headers, timeoutMs = defaultTimeoutMs } = options;
  const url = new URL(endpoint);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/v1/traces`;
  const [request, AgentOf] = url.protocol === "https:" ? [requestHttps, TlsAgent] : [requestHttp, Agent];
  // One batch is under way at a time.
  const agent = new AgentOf({ keepAlive: true, maxSockets: 1 });

  function post(body: Uint8Array, signal: AbortSignal, isSecond = false): Promise<Delivery> {
    return new Promise((resolve) => {
      const timeout = AbortSignal.timeout(timeoutMs);
      const failed = (error: Error): void => {
        // A connection that the receiver has closed while nobody used it says nothing of the receiver.
        const isStale = sent.reusedSocket && stale.has(codeOf(error)) && !isSecond;
        const failure: Delivery = {
          outcome: "failed",
          reason: timeout.aborted || signal.aborted ? "timeout" : codeOf(error),
          retryAfterMs: undefined,
          isReachable: !unreachable.has(codeOf(error)),
        };
        resolve(isStale ? post(body, signal, true) : failure);
      };
      const sent = request(url, {
        method: "POST",
        headers: {
          ...headers,
          "content-type": "application/x-protobuf",
          "content-length": body.byteLength,
        },
        agent,
        signal: AbortSignal.any([signal, timeout]),
      });
      sent.on("error", failed);
      sent.on("response", (answer) => {
        readAnswer(answer).then((content) => resolve(judge(answer, content)), failed);
      });
      sent.end(body);
    });
  }

  return {
    async send(batch, signal) {
      try {
        const body = await serialize(batch);
        const suppressed = context.active().setValue(isSuppressed, true);
        return await context.with(suppressed, post, undefined, body, signal);
      } catch (error) {
        // A span that cannot be serialized, or a header that cannot be sent, must not end the export of all.
        return { outcome: "refused", reason: codeOf(error) };
      }
    },
    close: () => agent.destroy(),
  };
}

/**
 * Part by part, between which the event loop turns. Messages one after the other are a message that has the elements of
 * all: https://protobuf.dev/programming-guides/encoding/#last-one-wins
 */
async function serialize(batch: Iterable<readonly ReadableSpan[]>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const spans of batch) {
    if (parts.length > 0) await nextTurn();
    parts.push(ProtobufTraceSerializer.serializeRequest([...spans]) ?? new Uint8Array());
  }
  return Buffer.concat(parts);
}

const stale = new Set(["ECONNRESET", "EPIPE"]);
const unreachable = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/** The code of a network error; its message may hold an address. */
function codeOf(error: unknown): string {
  const [first] = error instanceof AggregateError ? error.errors : [error];
  const { code, name } = first as NodeJS.ErrnoException;
  return typeof code === "string" ? code : name;
}

/** What the receiver says of its answer. */
async function readAnswer(answer: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    // The loop's end destroys the connection.
    if (bytes > mostAnswerBytes) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function judge(answer: IncomingMessage, content: Uint8Array): Delivery {
  const { statusCode = 0 } = answer;
  if (statusCode >= 200 && statusCode < 300) return { outcome: "taken", rejected: rejectedOf(content) };
  const reason = `status ${statusCode}`;
  if (!retryable.has(statusCode)) return { outcome: "refused", reason };
  const retryAfterMs = parseRetryAfter(answer.headers["retry-after"]);
  return { outcome: "failed", reason, retryAfterMs, isReachable: true };
}

/** Spans that the receiver says it did not take of a batch; 0 for an answer that says nothing that we can read. */
function rejectedOf(content: Uint8Array): number {
  if (content.byteLength === 0) return 0;
  try {
    return Number(ProtobufTraceSerializer.deserializeResponse(content).partialSuccess?.rejectedSpans ?? 0);
  } catch {
    return 0;
  }
}

/** Seconds, or a date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
function parseRetryAfter(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
