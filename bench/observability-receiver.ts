// Takes traces by OTLP over HTTP for bench/observability.ts, in a process of its own, and counts them. Sends its port to
// the process that forked it, then what it got each time that it is asked, and ends with it.
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import protobuf from "protobufjs";
import type { Received } from "./observability-kinds.ts";

// Of opentelemetry/proto/collector/trace/v1/trace_service.proto and opentelemetry/proto/trace/v1/trace.proto, the fields
// that are read here.
const requestType = protobuf
  .parse(`
    syntax = "proto3";
    message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
    message ResourceSpans { repeated ScopeSpans scope_spans = 2; }
    message ScopeSpans { repeated Span spans = 2; }
    message Span { bytes trace_id = 1; string name = 5; }
  `)
  .root.lookupType("ExportTraceServiceRequest");

interface ExportRequest {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly {
      readonly spans: readonly { readonly traceId: Uint8Array; readonly name: string }[];
    }[];
  }[];
}

const traces = new Set<string>();
const names = new Set<string>();
let spans = 0;

function count(body: Buffer): void {
  const { resourceSpans } = requestType.decode(body) as unknown as ExportRequest;
  for (const { scopeSpans } of resourceSpans)
    for (const scope of scopeSpans)
      for (const { traceId, name } of scope.spans) {
        traces.add(Buffer.from(traceId).toString("hex"));
        names.add(name);
        spans += 1;
      }
}

const server = createServer(async (request, response) => {
  count(await buffer(request));
  response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
});
server.listen({ port: 0, host: "127.0.0.1" }, () => {
  const address = server.address();
  process.send?.(typeof address === "object" && address !== null ? address.port : 0);
});
process.on("message", () => {
  process.send?.({ traces: traces.size, spans, names: [...names] } satisfies Received);
  traces.clear();
  names.clear();
  spans = 0;
});
process.once("disconnect", () => process.exit(0));
