// What sends spans to Jaeger or an OpenTelemetry Collector: OTLP over HTTP, as protobuf.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
// OpenTelemetry's own exporter keeps the number of rejected spans to itself, and does not wait for as long as a receiver
// asks; its serializer does the work here, too.
import { Agent, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps, Agent as TlsAgent } from "node:https";
import { context } from "@opentelemetry/api";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { Delivery, SpanExporter } from "./span-exporter.ts";
import { isSuppressed } from "./suppressed.ts";

export interface OtlpExporterOptions {
  /** As in `http://localhost:4318`; `/v1/traces` is added. */
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
  const url = new URL(`${endpoint.replace(/\/+$/, "")}/v1/traces`);
  const [request, AgentOf] = url.protocol === "https:" ? [requestHttps, TlsAgent] : [requestHttp, Agent];
  // One batch is under way at a time.
  const agent = new AgentOf({ keepAlive: true, maxSockets: 1 });

  function post(body: Uint8Array, signal: AbortSignal, isSecond = false): Promise<Delivery> {
    return new Promise((resolve) => {
      const timeout = AbortSignal.timeout(timeoutMs);
      const failed = (error: Error): void => {
        // A connection that the receiver has closed while nobody used it says nothing of the receiver.
        const isStale = sent.reusedSocket && codeOf(error) === "ECONNRESET" && !isSecond;
        const failure: Delivery = {
          outcome: "failed",
          reason: timeout.aborted ? "timeout" : codeOf(error),
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
      const body = serialize(batch);
      if (body === undefined) return { outcome: "refused", reason: "not serializable" };
      return await context.with(context.active().setValue(isSuppressed, true), post, undefined, body, signal);
    },
    close: () => agent.destroy(),
  };
}

/** A span that cannot be serialized must not end the export of all. */
function serialize(batch: readonly ReadableSpan[]): Uint8Array | undefined {
  try {
    return ProtobufTraceSerializer.serializeRequest([...batch]);
  } catch {
    return undefined;
  }
}

const unreachable = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/** The code of a network error; its message may hold an address. */
function codeOf(error: Error): string {
  const [first] = error instanceof AggregateError ? error.errors : [];
  const { code } = (first ?? error) as NodeJS.ErrnoException;
  return typeof code === "string" ? code : error.name;
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
