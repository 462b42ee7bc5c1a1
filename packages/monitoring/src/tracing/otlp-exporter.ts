// What sends spans to Jaeger or an OpenTelemetry Collector: OTLP over HTTP, as protobuf.
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import type { SpanExporter } from "@opentelemetry/sdk-trace";

export interface OtlpExporterOptions {
  /** As in `http://localhost:4318`; `/v1/traces` is added. */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function createOtlpExporter({ endpoint, headers }: OtlpExporterOptions): SpanExporter {
  return new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, "")}/v1/traces`, headers: { ...headers } });
}
