// What a process tells of itself: its metrics, where they are served, and its traces.
import type { Logging } from "@ectus/core";
import {
  countDroppedSeries,
  countLogLines,
  createInstruments,
  createOtlpExporter,
  describeProcess,
  type Instruments,
  noInstruments,
  noTracing,
  Registry,
  registerOpenTelemetryApi,
  startExporter,
  startRuntimeMetrics,
  startTracing,
  type Tracing,
} from "@ectus/monitoring";
import { clientUrl } from "./client-url.ts";
import type { InstanceConfig } from "./instance-config.ts";
import { readRevision, version } from "./version.ts";

export interface Telemetry {
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  /** Where metrics are served, or will be; undefined when that is not known yet, or they are not served. */
  readonly metricsUrl: string | undefined;
  /** Whether they are served by now. */
  readonly listening: boolean;
  close(): Promise<void>;
}

/** The first to start and the last to stop, so that a slow start and a slow stop can be seen. */
export async function startTelemetry({
  instance,
  logging,
}: {
  readonly instance: InstanceConfig;
  readonly logging: Logging;
}): Promise<Telemetry> {
  const { config, environment } = instance;
  const registry = new Registry();
  const instruments = config.METRICS_ENABLED ? createInstruments(registry) : noInstruments;
  instruments
    .gauge("ectus_build_info")
    .labels({ version, revision: await readRevision(environment) })
    .set(1);

  await using started = new AsyncDisposableStack();
  // A pipe that is closed on the other side takes no more lines; that is no failure of the stop.
  started.defer(() => logging.flush().catch(() => {}));
  started.defer(startRuntimeMetrics({ instruments, memoryLimitBytes: config.MEMORY_LIMIT_BYTES }));
  started.defer(countDroppedSeries({ registry, instruments }));
  started.defer(countLogLines({ counts: logging.counts, instruments }));
  const host = config.METRICS_HOST ?? config.HOST;
  const exporter = config.METRICS_ENABLED
    ? await startExporter({
        registry,
        instruments,
        host,
        port: config.METRICS_PORT,
        files: config,
        log: logging.module("metrics"),
      })
    : undefined;
  started.defer(() => exporter?.close());
  const tracing = openTracing(instance, instruments, logging);
  started.defer(() => tracing.close());
  started.defer(registerOpenTelemetryApi(tracing));

  const running = started.move();
  return {
    instruments,
    tracing,
    get metricsUrl() {
      return exporter?.url === undefined ? undefined : `${clientUrl(host, exporter.url)}/metrics`;
    },
    get listening() {
      return exporter?.listening === true;
    },
    close: () => running.disposeAsync(),
  };
}

function openTracing(
  { config, environment }: InstanceConfig,
  instruments: Instruments,
  logging: Logging,
): Tracing {
  if (config.OTEL_SDK_DISABLED) return noTracing;
  return startTracing({
    exporter: createOtlpExporter({
      endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
      headers: config.OTEL_EXPORTER_OTLP_HEADERS ?? {},
    }),
    resource: describeProcess({
      serviceName: config.OTEL_SERVICE_NAME,
      version,
      attributes: config.OTEL_RESOURCE_ATTRIBUTES,
      environment,
    }),
    sampleRatio: config.OTEL_TRACES_SAMPLER_ARG,
    instruments,
    log: logging.module("tracing"),
  });
}
