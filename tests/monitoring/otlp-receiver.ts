// A double of a receiver of traces that fails on command. It speaks OTLP over HTTP as protobuf:
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import protobuf from "protobufjs";

/** What it does with a request. */
export type Reaction =
  | { readonly status: number; readonly retryAfterSeconds?: number; readonly rejectedSpans?: number }
  | "hangs"
  | "resets the connection"
  | "breaks off its answer"
  | "answers with what is no protobuf";

export interface OtlpReceiver {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  /** Ids of the spans that it has taken; a span that comes twice is there twice. */
  readonly spanIds: readonly string[];
  /** Requests that have come. */
  readonly requestCount: number;
  /** Bytes of the largest request. */
  readonly largestBytes: number;
  /** From now on; requests that hang are broken off. */
  reactWith(reaction: Reaction): void;
  close(): Promise<void>;
}

// opentelemetry/proto/collector/trace/v1/trace_service.proto 1.x, as far as it is read here.
const { root } = protobuf.parse(
  `syntax = "proto3";
  message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { repeated ScopeSpans scope_spans = 2; }
  message ScopeSpans { repeated Span spans = 2; }
  message Span { bytes trace_id = 1; bytes span_id = 2; string name = 5; }`,
);
const Request = root.lookupType("ExportTraceServiceRequest");

interface DecodedRequest {
  readonly resourceSpans?: readonly {
    readonly scopeSpans?: readonly { readonly spans?: readonly { readonly spanId: Buffer }[] }[];
  }[];
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spanIds: string[] = [];
  const waiting = new Set<ServerResponse>();
  let reaction: Reaction = { status: 200 };
  let requestCount = 0;
  let largestBytes = 0;

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const sent = Buffer.concat(parts);
    requestCount += 1;
    largestBytes = Math.max(largestBytes, sent.length);
    if (reaction === "hangs") {
      waiting.add(response);
      response.on("close", () => waiting.delete(response));
    } else if (reaction === "resets the connection") {
      request.socket.resetAndDestroy();
    } else if (reaction === "breaks off its answer") {
      response.writeHead(200, { "content-type": "application/x-protobuf", "content-length": 100 });
      response.write("\n", () => response.destroy());
    } else if (reaction === "answers with what is no protobuf") {
      response.writeHead(200, { "content-type": "text/html" }).end("<html>welcome</html>");
    } else {
      const { status, retryAfterSeconds, rejectedSpans } = reaction;
      const isRight =
        request.method === "POST" &&
        request.url === "/v1/traces" &&
        request.headers["content-type"] === "application/x-protobuf";
      if (status === 200 && isRight)
        take(request.headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent);
      response.writeHead(isRight ? status : 400, {
        "content-type": "application/x-protobuf",
        ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
      });
      // ExportTraceServiceResponse { partial_success { rejected_spans } }
      response.end(rejectedSpans === undefined ? undefined : Buffer.from([0x0a, 2, 0x08, rejectedSpans]));
    }
  }

  function take(body: Buffer): void {
    const { resourceSpans = [] } = Request.toObject(Request.decode(body), {
      bytes: Buffer,
    }) as DecodedRequest;
    for (const { scopeSpans = [] } of resourceSpans)
      for (const { spans = [] } of scopeSpans)
        for (const { spanId } of spans) spanIds.push(spanId.toString("hex"));
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    spanIds,
    get requestCount() {
      return requestCount;
    },
    get largestBytes() {
      return largestBytes;
    },
    reactWith(next) {
      reaction = next;
      for (const response of waiting) response.destroy();
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
