// A real Prometheus for tests: its own folder and port, the scrape configuration that a test gives it, and its API.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFreePort } from "../free-port.ts";
import { until } from "../postgres/until.ts";

export interface PrometheusOptions {
  /** The program. */
  readonly program: string;
  /** The configuration file: as text, or as an object, since JSON is YAML. */
  readonly config: object | string;
}

/** A float sample or a native histogram, as the HTTP API gives it. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  /** Seconds since 1970, and the value as text. */
  readonly value?: readonly [number, string];
  readonly histogram?: readonly [number, NativeHistogram];
}

export interface NativeHistogram {
  readonly count: string;
  readonly sum: string;
  /** Which bounds are inclusive, lower and upper bound, count. */
  readonly buckets?: readonly (readonly [number, string, string, string])[];
}

export interface Target {
  readonly labels: Readonly<Record<string, string>>;
  readonly health: "up" | "down" | "unknown";
  readonly lastError: string;
  readonly lastScrape: string;
}

export interface Exemplars {
  readonly seriesLabels: Readonly<Record<string, string>>;
  readonly exemplars: readonly {
    readonly labels: Readonly<Record<string, string>>;
    readonly value: string;
    readonly timestamp: number;
  }[];
}

export interface Prometheus {
  readonly url: string;
  /** Evaluates an expression now. */
  query(expression: string): Promise<readonly Sample[]>;
  targets(): Promise<readonly Target[]>;
  exemplars(selector: string): Promise<readonly Exemplars[]>;
  /** Resolves when every target was scraped by a scrape that began after this call. */
  scraped(): Promise<void>;
  /** What it logged. */
  readonly log: () => string;
  stop(): Promise<void>;
}

/** Resolves when it answers. */
export async function startPrometheus({ program, config }: PrometheusOptions): Promise<Prometheus> {
  const folder = await mkdtemp(join(tmpdir(), "ectus-prometheus-"));
  const configFile = join(folder, "prometheus.yaml");
  await writeFile(configFile, typeof config === "string" ? config : JSON.stringify(config));
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(
    program,
    [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--enable-feature=exemplar-storage",
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
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

  async function api<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
    const answer = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const body = (await answer.json()) as { status: string; error?: string; data: T };
    if (body.status !== "success") throw new Error(`Prometheus says: ${body.error}`);
    return body.data;
  }
  const targets = async () => (await api<{ activeTargets: readonly Target[] }>("targets")).activeTargets;

  try {
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`Prometheus ended with ${child.exitCode}: ${log}`);
      return fetch(`${url}/-/ready`).then(
        ({ status }) => status === 200,
        () => false,
      );
    }, 30_000);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    query: async (query) => (await api<{ result: readonly Sample[] }>("query", { query })).result,
    targets,
    exemplars: (query) => api("query_exemplars", { query, start: "0", end: `${Date.now() / 1000 + 60}` }),
    async scraped() {
      const since = Date.now();
      await until(
        async () => {
          const all = await targets();
          return all.length > 0 && all.every(({ lastScrape }) => Date.parse(lastScrape) > since);
        },
        30_000,
        50,
      );
    },
    log: () => log,
    stop,
  };
}
