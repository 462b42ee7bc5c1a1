// A registry is made where a process is put together, which needs no more of the client.
export { Registry } from "@ectus/metrics";
export type { CatalogueEntry, LabelRule } from "./catalogue/entry.ts";
export { externalSeries, targetLabels } from "./catalogue/external.ts";
export {
  type ExternalProgram,
  type ExternalSeries,
  externalPrograms,
} from "./catalogue/external-entry.ts";
export { syntheticSeries } from "./catalogue/external-prometheus.ts";
export { catalogue, type LabelsOf, type MetricName, type NameOf } from "./catalogue.ts";
export { checkExporterFiles, type ExporterFiles } from "./exporter-files.ts";
export { healthyText } from "./exporter-requests.ts";
export {
  type CounterHandle,
  type CounterOf,
  createInstruments,
  type GaugeHandle,
  type GaugeOf,
  type HistogramHandle,
  type HistogramOf,
  type Instruments,
  noInstruments,
} from "./instruments.ts";
export { countLogLines } from "./log-lines.ts";
export { type Exporter, type ExporterOptions, startExporter } from "./prometheus-exporter.ts";
export { startRuntimeMetrics } from "./runtime-metrics.ts";
export { countDroppedSeries } from "./series-dropped.ts";
export { runBatch } from "./tracing/batch.ts";
export { currentExemplar, currentSpan, startSpan } from "./tracing/current-span.ts";
export { errorTypeOf } from "./tracing/error-type.ts";
export type { KeepReason } from "./tracing/keep-reason.ts";
export { registerOpenTelemetryApi } from "./tracing/opentelemetry-api.ts";
export { createOtlpExporter } from "./tracing/otlp-exporter.ts";
export { describeProcess } from "./tracing/resource.ts";
export { createSampler } from "./tracing/sampling.ts";
export { Span } from "./tracing/span.ts";
export type { SpanExporter } from "./tracing/span-exporter.ts";
export type { SpanTemplate } from "./tracing/span-template.ts";
export { type IncomingTrace, noTracing, startTracing, type Tracing, type TracingOptions } from "./tracing.ts";
