// What Jaeger says of the traces that it takes, of its storage and of itself. It is made of the OpenTelemetry Collector's
// parts, whose series are among them; each has the name of the part that made it.
import { oneOf } from "./entry.ts";
import { anyOf, seriesOf } from "./external-entry.ts";

const scope = {
  otel_scope_name: anyOf("the part that made it"),
  otel_scope_version: anyOf("the part's version"),
  otel_scope_schema_url: anyOf("the schema of its names"),
};
const exporter = { ...scope, exporter: anyOf("a part that keeps traces, as `jaeger_storage_exporter`") };
const receiver = {
  ...scope,
  receiver: anyOf("a part that takes traces, as `otlp`"),
  transport: oneOf("http", "grpc"),
};
const storage = {
  ...scope,
  kind: oneOf("badger"),
  name: anyOf("the storage's name in Jaeger's configuration"),
  role: anyOf("what the storage is for, as `tracestore`"),
};
const operation = { ...storage, operation: anyOf("what was asked of the storage, as `find_traces`") };

export const jaegerSeries = seriesOf("jaeger", {
  gauge: {
    jaeger_storage_badger_key_log_bytes_available: storage,
    jaeger_storage_badger_size_bytes_lsm: storage,
    jaeger_storage_badger_size_bytes_vlog: storage,
    jaeger_storage_badger_storage_maintenance_last_run: storage,
    jaeger_storage_badger_value_log_bytes_available: storage,
    otelcol_process_memory_rss_bytes: scope,
    otelcol_process_runtime_heap_alloc_bytes: scope,
    otelcol_process_runtime_total_sys_memory_bytes: scope,
  },
  counter: {
    jaeger_storage_requests_total: { ...operation, result: oneOf("ok", "err") },
    otelcol_exporter_send_failed_spans_total: exporter,
    otelcol_exporter_sent_spans_total: exporter,
    otelcol_process_cpu_seconds_total: scope,
    otelcol_process_uptime_seconds_total: scope,
    otelcol_receiver_accepted_spans_total: receiver,
    otelcol_receiver_failed_spans_total: receiver,
    otelcol_receiver_refused_spans_total: receiver,
  },
  histogram: {
    jaeger_storage_latency_seconds: { ...operation, result: oneOf("ok", "err") },
  },
});
