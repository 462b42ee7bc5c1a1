// A real Prometheus on a free loopback port with the rules that it is given, and its API as functions.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findFreePort } from "./free-port.ts";
import { type Program, startProgram } from "./program.ts";

export interface PrometheusOptions {
  /** The program. */
  readonly path: string;
  /** A scratch folder for its files and data. The caller removes it; one started on it again goes on with its data. */
  readonly folder: string;
  /** The configuration without `rule_files`, which is set to the files below. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Texts of rule files by name. */
  readonly ruleFiles: Readonly<Record<string, string>>;
  /** Of one that has ended; a free one by default. */
  readonly port?: number;
  /** How long it waits before it tells Alertmanager again that an alert fires: 1m by default. */
  readonly resendDelay?: string;
  /** How long an alert that was pending before a restart is pending after it, at least: 10m by default. */
  readonly forGracePeriod?: string;
  readonly timeoutMs?: number;
}

export interface FloatSample {
  readonly metric: Readonly<Record<string, string>>;
  /** Seconds since 1970, and the value as text. */
  readonly value: readonly [number, string];
}

/** An alert that is pending or fires. */
export interface RaisedAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: "pending" | "firing";
  readonly activeAt: string;
  readonly value: string;
}

export interface EvaluatedRule {
  readonly type: "alerting" | "recording";
  readonly name: string;
  readonly query: string;
  readonly health: "ok" | "err" | "unknown";
  readonly lastError?: string;
  /** Of alerting rules. */
  readonly state?: "inactive" | "pending" | "firing";
}

export interface ScrapeTarget {
  readonly labels: Readonly<Record<string, string>>;
  readonly scrapeUrl: string;
  readonly health: "up" | "down" | "unknown";
  readonly lastError: string;
  readonly lastScrape: string;
}

/** What a server that runs says. */
export interface PrometheusApi {
  readonly url: string;
  /** Evaluates an expression now. */
  query(expression: string): Promise<readonly FloatSample[]>;
  alerts(): Promise<readonly RaisedAlert[]>;
  rules(): Promise<readonly EvaluatedRule[]>;
  targets(): Promise<readonly ScrapeTarget[]>;
}

export interface Prometheus extends Program, PrometheusApi {
  readonly port: number;
  /** Writes a rule file and reads all again. Rejects with what it says of a wrong one; the rules before stay then. */
  reload(ruleFiles: Readonly<Record<string, string>>): Promise<void>;
}

const requestTimeoutMs = 10_000;

/** Resolves when it answers queries. */
export async function startPrometheus(options: PrometheusOptions): Promise<Prometheus> {
  const { path, folder, config, ruleFiles, resendDelay, forGracePeriod, timeoutMs = 30_000 } = options;
  const rulesFolder = join(folder, "rules");
  await mkdir(rulesFolder, { recursive: true });
  await writeRules(rulesFolder, ruleFiles);
  const configFile = join(folder, "prometheus.yaml");
  // JSON is YAML.
  await writeFile(configFile, JSON.stringify({ ...config, rule_files: [join(rulesFolder, "*")] }));
  const port = options.port ?? (await findFreePort());
  const url = `http://127.0.0.1:${port}`;
  const program = await startProgram({
    name: "Prometheus",
    path,
    args: [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      `--web.external-url=${url}`,
      "--web.enable-lifecycle",
      // Else it waits for five seconds before it first scrapes.
      "--scrape.discovery-reload-interval=100ms",
      "--enable-feature=exemplar-storage",
      ...(resendDelay === undefined ? [] : [`--rules.alert.resend-delay=${resendDelay}`]),
      ...(forGracePeriod === undefined ? [] : [`--rules.alert.for-grace-period=${forGracePeriod}`]),
    ],
    ready: async () => (await call(`${url}/-/ready`)).ok,
    timeoutMs,
  });

  return {
    ...program,
    ...prometheusApi(url),
    port,
    async reload(files) {
      await writeRules(rulesFolder, files);
      const answer = await call(`${url}/-/reload`, "POST");
      if (!answer.ok) throw new Error(`Prometheus says: ${(await answer.text()).trim()}`);
    },
  };
}

/** @param url of the server, without a path */
export function prometheusApi(url: string): PrometheusApi {
  async function api<T>(resource: string): Promise<T> {
    const answer = await call(`${url}/api/v1/${resource}`);
    const body = (await answer.json()) as { status: string; error?: string; data: T };
    if (body.status !== "success") throw new Error(`Prometheus says: ${body.error}`);
    return body.data;
  }
  return {
    url,
    query: async (query) =>
      (await api<{ result: readonly FloatSample[] }>(`query?${new URLSearchParams({ query })}`)).result,
    alerts: async () => (await api<{ alerts: readonly RaisedAlert[] }>("alerts")).alerts,
    rules: async () =>
      (await api<{ groups: readonly { rules: readonly EvaluatedRule[] }[] }>("rules")).groups.flatMap(
        ({ rules }) => rules,
      ),
    targets: async () => (await api<{ activeTargets: readonly ScrapeTarget[] }>("targets")).activeTargets,
  };
}

const call = (url: string, method = "GET"): Promise<Response> =>
  fetch(url, { method, signal: AbortSignal.timeout(requestTimeoutMs) });

async function writeRules(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(folder, name), text)));
}
