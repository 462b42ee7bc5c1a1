// The scratch instance: `ectus up` as an operator runs it, as a process that a drill can kill and start again with the
// same data and the same addresses. Beside it, on request, an `ectus worker`.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { variables } from "@ectus/core";
import type { InstanceNeeds } from "../drill.ts";
import { findFreePort } from "../programs/free-port.ts";
import { type Program, startProgram } from "../programs/program.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { ScratchPostgres } from "./scratch-postgres.ts";

export interface EctusProcess {
  /** Of the process that runs now; 0 when none does. */
  readonly pid: number;
  /** host:port, as a scrape configuration takes it. */
  readonly metricsAddress: string;
  /** What all its processes have logged. */
  log(): string;
  /** Ends it at once, without a chance to tidy. */
  kill(): Promise<void>;
  /** Ends it in order. */
  stop(): Promise<void>;
  /** Starts it again. */
  start(): Promise<void>;
}

export interface Instance extends EctusProcess {
  /** Of the API, without /v1. */
  readonly url: string;
  readonly metricsPort: number;
  readonly operatorKey: string;
  /** Of the tenant whose clients the drill plays, its id and its keys. */
  readonly tenant: { readonly id: string; readonly adminKey: string; readonly key: string };
}

export interface EctusOptions {
  /** Command and first arguments that run `ectus`. */
  readonly ectus: readonly [string, ...string[]];
  /** DATA_DIR. */
  readonly folder: string;
  readonly postgres: ScratchPostgres;
  readonly needs: InstanceNeeds;
}

export interface InstanceOptions extends EctusOptions {
  readonly upstream: Upstream;
  /** Of a second vendor, which models with a fallback have. */
  readonly standby: Upstream;
  /** Port of its metrics; a free one by default. */
  readonly metricsPort?: number | undefined;
}

/** A model that only the first upstream answers. */
export const plainModel = "drill";
/** A model that the second upstream answers when the first one fails. */
export const fallbackModel = "drill-with-fallback";

const startWithinMs = 60_000;

export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const { folder, upstream, standby } = options;
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const providersFile = join(folder, "providers.yaml");
  // JSON is YAML.
  await writeFile(providersFile, JSON.stringify(providersOf(upstream, standby)));
  const port = await findFreePort();
  const metricsPort = options.metricsPort ?? (await findFreePort());
  const url = `http://127.0.0.1:${port}`;
  const credentials = join(folder, "credentials.json");
  const child = await startEctus("instance", options, {
    args: ["up", "--port", String(port), "--data-dir", folder, "--offline"],
    environment: { AI_PROVIDERS: providersFile, METRICS_PORT: String(metricsPort) },
    ready: async () => (await answers(`${url}/health/ready`)) && (await readFile(credentials)).length > 0,
    metricsPort,
  });
  const { operatorKey, tenants } = JSON.parse(await readFile(credentials, "utf8"));
  return Object.assign(child, { url, metricsPort, operatorKey, tenant: tenants[0] });
}

/** Beside an instance whose environment has EXPORTS_ENABLED=false, it runs the exports. */
export async function startWorker(options: EctusOptions): Promise<EctusProcess> {
  const metricsPort = await findFreePort();
  return startEctus("worker", options, {
    args: ["worker", "--data-dir", options.folder],
    environment: { METRICS_PORT: String(metricsPort) },
    ready: () => answers(`http://127.0.0.1:${metricsPort}/-/healthy`),
    metricsPort,
  });
}

interface Run {
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly ready: () => Promise<boolean>;
  readonly metricsPort: number;
}

async function startEctus(name: string, options: EctusOptions, run: Run): Promise<EctusProcess> {
  const { postgres, needs } = options;
  const [path, ...before] =
    needs.cpus === undefined ? options.ectus : (["taskset", "-c", needs.cpus, ...options.ectus] as const);
  let earlierLogs = "";
  let program: Program | undefined;
  async function start(): Promise<void> {
    program ??= await startProgram({
      name,
      path,
      args: [...before, ...run.args],
      env: {
        ...unconfigured,
        DATABASE_URL: postgres.url,
        DATABASE_OWNER_URL: postgres.ownerUrl,
        HOST: "127.0.0.1",
        LOG_FORMAT: "json",
        // No Jaeger listens: without this, lost spans would be a fault of their own.
        OTEL_SDK_DISABLED: "true",
        ...run.environment,
        ...needs.environment,
      },
      ready: run.ready,
      timeoutMs: startWithinMs,
    });
  }
  async function end(stop: (running: Program) => Promise<void>): Promise<void> {
    const running = program;
    if (running === undefined) return;
    program = undefined;
    await stop(running);
    earlierLogs += running.log();
  }
  await start();
  return {
    get pid() {
      return program?.pid ?? 0;
    },
    metricsAddress: `127.0.0.1:${run.metricsPort}`,
    log: () => earlierLogs + (program?.log() ?? ""),
    kill: () =>
      end(async (running) => {
        signalTo(running.pid, "SIGKILL");
        await running.exited;
      }),
    stop: () =>
      end(async (running) => {
        // One that a drill has paused ends only when it goes on.
        signalTo(running.pid, "SIGCONT");
        await running.stop();
      }),
    start,
  };
}

// What whoever runs the drill has configured is not the scratch instance's.
const unconfigured: Readonly<Record<string, undefined>> = Object.fromEntries(
  [...Object.keys(variables), "ECTUS_CONFIG"].map((name) => [name, undefined]),
);

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

async function answers(url: string): Promise<boolean> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
  await answer.body?.cancel();
  return answer.ok;
}

function providersOf(upstream: Upstream, standby: Upstream): object {
  // Without retries each call that fails is one that a client sees.
  const vendor = { type: "openai", apiKey: "drill", retries: 0 };
  const first = { provider: "vendor", model: "drill" };
  return {
    providers: {
      vendor: { ...vendor, baseUrl: upstream.baseUrl },
      standby: { ...vendor, baseUrl: standby.baseUrl },
    },
    models: {
      [plainModel]: { operations: ["chat"], routes: [first] },
      [fallbackModel]: { operations: ["chat"], routes: [first, { provider: "standby", model: "drill" }] },
    },
  };
}
