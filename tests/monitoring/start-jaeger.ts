// A real Jaeger for tests, on free ports of its own: it takes spans by OTLP over HTTP, keeps them in memory and gives
// them back by its query API. It can be ended and started again on the same ports, empty.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";

export interface JaegerOptions {
  /** The program. */
  readonly program: string;
  /** Those of one that has ended; free ones by default. */
  readonly ports?: JaegerPorts;
}

export interface JaegerPorts {
  readonly otlp: number;
  readonly query: number;
  /** Nobody asks it, but it cannot be left out. */
  readonly queryGrpc: number;
}

export interface Jaeger {
  /** What OTEL_EXPORTER_OTLP_ENDPOINT is set to. */
  readonly otlpUrl: string;
  /** Of its query API and page. */
  readonly url: string;
  readonly ports: JaegerPorts;
  readonly pid: number;
  /** What it logged. */
  readonly log: () => string;
  stop(): Promise<void>;
}

// More than any test sends: the oldest traces are forgotten beyond it.
const keptTraces = 50_000;

/** Resolves when it takes spans and answers questions. */
export async function startJaeger({ program, ports: wished }: JaegerOptions): Promise<Jaeger> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-jaeger-"));
  const ports = wished ?? (await findPorts());
  const configFile = join(folder, "jaeger.yaml");
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify(configuration(ports)));
  const child = spawn(program, [`--config=${configFile}`], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
  const ended = once(child, "close");
  const stop = async (): Promise<void> => {
    // One that a test has suspended ends when it goes on.
    child.kill("SIGTERM");
    child.kill("SIGCONT");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  const [otlpUrl, url] = [`http://127.0.0.1:${ports.otlp}`, `http://127.0.0.1:${ports.query}`];
  try {
    await until(
      async () => {
        if (child.exitCode !== null) throw new Error(`Jaeger ended with ${child.exitCode}: ${log}`);
        return (await answers(`${url}/api/services`)) && (await answers(`${otlpUrl}/v1/traces`, noSpans));
      },
      30_000,
      20,
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { otlpUrl, url, ports, pid: child.pid as number, log: () => log, stop };
}

const noSpans = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };

async function answers(url: string, request: RequestInit = {}): Promise<boolean> {
  try {
    return (await fetch(url, { ...request, signal: AbortSignal.timeout(5_000) })).ok;
  } catch {
    return false;
  }
}

async function findPorts(): Promise<JaegerPorts> {
  const [otlp = 0, query = 0, queryGrpc = 0] = await Promise.all([1, 2, 3].map(findFreePort));
  return { otlp, query, queryGrpc };
}

// Only what tests need, since every part that is named opens a port on all addresses unless it is told otherwise.
// Without a batch processor, spans can be read back as soon as their export is answered.
function configuration({ otlp, query, queryGrpc }: JaegerPorts): object {
  const endpoint = (port: number): object => ({ endpoint: `127.0.0.1:${port}` });
  return {
    service: {
      extensions: ["jaeger_storage", "jaeger_query"],
      pipelines: { traces: { receivers: ["otlp"], exporters: ["jaeger_storage_exporter"] } },
      telemetry: { metrics: { level: "none" }, logs: { level: "warn" } },
    },
    extensions: {
      jaeger_storage: { backends: { memory: { memory: { max_traces: keptTraces } } } },
      jaeger_query: {
        storage: { traces: "memory" },
        http: endpoint(query),
        grpc: endpoint(queryGrpc),
        // Its own traces, which it would send to port 4317 and wait for at its end.
        enable_tracing: false,
      },
    },
    receivers: { otlp: { protocols: { http: endpoint(otlp) } } },
    exporters: { jaeger_storage_exporter: { trace_storage: "memory" } },
  };
}
