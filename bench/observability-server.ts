// One Fastify server of bench/observability.ts in a process of its own; what it logs goes to its standard output, its
// traces to the endpoint that it is given. Tells its ports to the process that forked it, ends by SIGTERM when all that
// it kept has left it, and at once when that process is gone.
import type { AddressInfo } from "node:net";
import { createLogging } from "@ectus/core";
import {
  createInstruments,
  createOtlpExporter,
  describeProcess,
  noInstruments,
  noTracing,
  Registry,
  startExporter,
  startRuntimeMetrics,
  startTracing,
} from "@ectus/monitoring";
import { addObservability } from "@ectus/web-api";
import { type FastifyInstance, fastify } from "fastify";
import { item, route, type ServerKind, type ServerPorts, sampleRatio } from "./observability-kinds.ts";

interface Parts {
  readonly metrics: boolean;
  readonly log: boolean;
  readonly traces: boolean;
}

const exit = (): void => process.exit(0);
process.once("disconnect", exit);
process.send?.(await start(process.argv[2] as ServerKind, process.argv[3] as string));

async function start(kind: ServerKind, tracesEndpoint: string): Promise<ServerPorts> {
  const all: Parts = { metrics: true, log: true, traces: true };
  switch (kind) {
    case "bare":
      return { port: await serve(fastify({ logger: false })), metricsPort: null };
    case "usual":
    case "usual-own-log":
      return startUsual();
    case "ours":
      return startOurs(all, tracesEndpoint);
    case "without-traces":
      return startOurs({ ...all, traces: false }, tracesEndpoint);
    case "without-log":
      return startOurs({ ...all, log: false }, tracesEndpoint);
    case "without-metrics":
      return startOurs({ ...all, metrics: false }, tracesEndpoint);
    case "context-only":
      return startOurs({ metrics: false, log: false, traces: false }, tracesEndpoint);
  }
}

async function serve(app: FastifyInstance, close: () => Promise<void> = async () => {}): Promise<number> {
  app.get(route, async () => item);
  await app.listen({ host: "127.0.0.1", port: 0 });
  process.once("SIGTERM", async () => {
    process.off("disconnect", exit);
    await app.close();
    await close();
    process.disconnect?.();
  });
  return (app.server.address() as AddressInfo).port;
}

/** Wired as packages/cli/src/up.ts does, with the defaults of its configuration. */
async function startOurs(parts: Parts, tracesEndpoint: string): Promise<ServerPorts> {
  const level = parts.log ? "info" : "error";
  const logging = createLogging({ levels: { default: level, modules: {} }, format: "json" });
  const registry = new Registry();
  const instruments = parts.metrics ? createInstruments(registry) : noInstruments;
  const stopRuntimeMetrics = startRuntimeMetrics({ instruments });
  const exporter = parts.metrics
    ? await startExporter({
        registry,
        instruments,
        host: "127.0.0.1",
        port: 0,
        log: logging.module("metrics"),
      })
    : undefined;
  const tracing = parts.traces
    ? startTracing({
        exporter: createOtlpExporter({ endpoint: tracesEndpoint, headers: {} }),
        resource: describeProcess({ serviceName: "bench", version: "0", attributes: {} }),
        sampleRatio,
        instruments,
        log: logging.module("tracing"),
      })
    : noTracing;
  const app = fastify({ logger: false });
  addObservability(app, {
    logging,
    instruments,
    tracing,
    traceTrustedPeers: [],
    slowRequestMs: 1_000,
    slowInferenceMs: 30_000,
    logSample: new Map(),
  });
  const port = await serve(app, async () => {
    await tracing.close();
    await exporter?.close();
    stopRuntimeMetrics();
    await logging.flush();
  });
  return { port, metricsPort: exporter === undefined ? null : Number(new URL(exporter.url as string).port) };
}

/** Its OpenTelemetry was begun by what the process was started with. */
async function startUsual(): Promise<ServerPorts> {
  const { FastifyOtelInstrumentation } = await import("@fastify/otel");
  const { default: metrics } = await import("fastify-metrics");
  new FastifyOtelInstrumentation({ registerOnInitialization: true });
  const app = fastify({ logger: true });
  await app.register(metrics as never, { endpoint: "/metrics" } as never);
  const port = await serve(app);
  return { port, metricsPort: port };
}
