// A real Jaeger as production has it: traces in Badger on the disk, and its own metrics for Prometheus.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";

export interface StoredJaeger {
  /** What OTEL_EXPORTER_OTLP_ENDPOINT is set to. */
  readonly otlpUrl: string;
  /** Of its query API and page. */
  readonly url: string;
  /** What Prometheus scrapes: host and port. */
  readonly metricsAddress: string;
  stop(): Promise<void>;
}

const startTimeoutMs = 60_000;

/** Resolves when it answers questions and its metrics can be scraped. */
export async function startStoredJaeger(program: string): Promise<StoredJaeger> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-jaeger-"));
  const [otlp = 0, query = 0, queryGrpc = 0, metrics = 0] = await Promise.all([1, 2, 3, 4].map(findFreePort));
  const configFile = join(folder, "jaeger.yaml");
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(configuration({ folder, otlp, query, queryGrpc, metrics })));
  const child = spawn(program, [`--config=${configFile}`], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
  const ended = once(child, "close");
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  const url = `http://127.0.0.1:${query}`;
  const metricsAddress = `127.0.0.1:${metrics}`;
  try {
    await until(
      async () => {
        if (child.exitCode !== null) throw new Error(`Jaeger ended with ${child.exitCode}: ${log}`);
        return (await answers(`${url}/api/services`)) && (await answers(`http://${metricsAddress}/metrics`));
      },
      startTimeoutMs,
      50,
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { otlpUrl: `http://127.0.0.1:${otlp}`, url, metricsAddress, stop };
}

async function answers(url: string): Promise<boolean> {
  return fetch(url, { signal: AbortSignal.timeout(5_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
}

interface Places {
  readonly folder: string;
  readonly otlp: number;
  readonly query: number;
  readonly queryGrpc: number;
  readonly metrics: number;
}

function configuration({ folder, otlp, query, queryGrpc, metrics }: Places): object {
  const endpoint = (port: number): object => ({ endpoint: `127.0.0.1:${port}` });
  const directories = { keys: join(folder, "keys"), values: join(folder, "values") };
  return {
    service: {
      extensions: ["jaeger_storage", "jaeger_query"],
      pipelines: { traces: { receivers: ["otlp"], exporters: ["jaeger_storage_exporter"] } },
      telemetry: {
        metrics: {
          level: "detailed",
          readers: [{ pull: { exporter: { prometheus: { host: "127.0.0.1", port: metrics } } } }],
        },
        logs: { level: "warn" },
      },
    },
    extensions: {
      jaeger_storage: { backends: { main: { badger: { directories, ephemeral: false } } } },
      jaeger_query: {
        storage: { traces: "main" },
        http: endpoint(query),
        grpc: endpoint(queryGrpc),
        enable_tracing: false,
      },
    },
    receivers: { otlp: { protocols: { http: endpoint(otlp) } } },
    exporters: { jaeger_storage_exporter: { trace_storage: "main" } },
  };
}
