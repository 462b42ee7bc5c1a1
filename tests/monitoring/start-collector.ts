// A real OpenTelemetry Collector for tests, with the configuration that Kubernetes uses, on free ports of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";

export interface CollectorOptions {
  /** The program. */
  readonly program: string;
  /** A pattern of the files that it reads. */
  readonly logFiles: string;
  /** Where it remembers how far it has read; made when it is missing. */
  readonly stateFolder: string;
  /** Of the receiver that it sends to. */
  readonly endpoint: string;
}

export interface Collector {
  readonly metricsUrl: string;
  /** What it logged. */
  readonly log: () => string;
  stop(): Promise<void>;
  /** Ends it as a crash does: nothing that it has in memory is sent or noted. */
  kill(): Promise<void>;
}

export const collectorConfig = new URL("../../k8s/otel-collector/collector.yaml", import.meta.url).pathname;

/** Resolves when it is ready. */
export async function startCollector(options: CollectorOptions): Promise<Collector> {
  const { program, logFiles, stateFolder, endpoint } = options;
  const [healthPort = 0, metricsPort = 0] = await Promise.all([1, 2].map(findFreePort));
  // The one thing that tests change: JSON is easier to receive.
  const encoding = "--set=exporters.otlp_http.encoding=json";
  const child = spawn(program, [`--config=${collectorConfig}`, encoding], {
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      ECTUS_LOG_FILES: logFiles,
      COLLECTOR_STATE_DIR: stateFolder,
      COLLECTOR_HOST: "127.0.0.1",
      COLLECTOR_HEALTH_PORT: String(healthPort),
      COLLECTOR_METRICS_PORT: String(metricsPort),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
  const ended = once(child, "close");
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await ended;
  };
  try {
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`the collector ended with ${child.exitCode}: ${log}`);
      return fetch(`http://127.0.0.1:${healthPort}/`).then(
        ({ ok }) => ok,
        () => false,
      );
    }, 30_000);
  } catch (error) {
    await end("SIGKILL");
    throw error;
  }
  return {
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    log: () => log,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}
