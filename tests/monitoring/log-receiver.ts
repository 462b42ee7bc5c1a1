// A double of where logs are kept: it takes log records by OTLP over HTTP as JSON, remembers them, and fails on command.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { type OtlpAttribute, type OtlpValue, readAttributes, readValue } from "./otlp-attributes.ts";

export interface LogRecord {
  /** Milliseconds since 1970; 0 when it has none. */
  readonly timeMs: number;
  /** From 1 to 24, https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber */
  readonly severity: number;
  readonly severityText: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly body: unknown;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly resource: Readonly<Record<string, unknown>>;
}

export interface LogReceiver {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  readonly records: readonly LogRecord[];
  /** Requests that have come. */
  readonly requests: number;
  /** What it answers from now on; with 200 it takes the records. */
  answerWith(status: number): void;
  close(): Promise<void>;
}

interface OtlpLogs {
  readonly resourceLogs: readonly {
    readonly resource: { readonly attributes?: readonly OtlpAttribute[] };
    readonly scopeLogs: readonly {
      readonly logRecords: readonly {
        readonly timeUnixNano?: string;
        readonly severityNumber?: number;
        readonly severityText?: string;
        readonly traceId?: string;
        readonly spanId?: string;
        readonly body?: OtlpValue;
        readonly attributes?: readonly OtlpAttribute[];
      }[];
    }[];
  }[];
}

export async function startLogReceiver(): Promise<LogReceiver> {
  const records: LogRecord[] = [];
  let status = 200;
  let requests = 0;

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    requests += 1;
    if (status === 200) {
      const sent = Buffer.concat(parts);
      const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
      records.push(...readLogs(JSON.parse(body.toString()) as OtlpLogs));
    }
    response.writeHead(status, { "content-type": "application/json" }).end("{}");
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    records,
    get requests() {
      return requests;
    },
    answerWith(next) {
      status = next;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function readLogs({ resourceLogs }: OtlpLogs): readonly LogRecord[] {
  return resourceLogs.flatMap(({ resource, scopeLogs }) =>
    scopeLogs.flatMap(({ logRecords }) =>
      logRecords.map((record) => ({
        timeMs: Number(BigInt(record.timeUnixNano ?? 0) / 1_000n) / 1_000,
        severity: record.severityNumber ?? 0,
        severityText: record.severityText ?? "",
        traceId: record.traceId ?? "",
        spanId: record.spanId ?? "",
        body: record.body === undefined ? undefined : readValue(record.body),
        attributes: readAttributes(record.attributes),
        resource: readAttributes(resource.attributes),
      })),
    ),
  );
}
