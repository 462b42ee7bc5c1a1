// A real Alertmanager on a free loopback port, alone (it gossips with nobody), and its API as functions.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findFreePort } from "./free-port.ts";
import { type Program, startProgram } from "./program.ts";

export interface AlertmanagerOptions {
  /** The program. */
  readonly path: string;
  /** A scratch folder. The configuration finds secrets and templates in its folders of these names. The caller removes it. */
  readonly folder: string;
  /** The configuration, as text. */
  readonly config: string;
  /** Texts of template files by name. */
  readonly templates: Readonly<Record<string, string>>;
  /** Texts of secret files by name. */
  readonly secrets: Readonly<Record<string, string>>;
  /** Of one that has ended; a free one by default. */
  readonly port?: number;
  readonly timeoutMs?: number;
}

/** An alert as its API gives it. */
export interface ReceivedAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
  readonly fingerprint: string;
  readonly receivers: readonly { readonly name: string }[];
  readonly status: {
    readonly state: "active" | "suppressed" | "unprocessed";
    /** Fingerprints of the alerts that silence it. */
    readonly inhibitedBy: readonly string[];
    readonly silencedBy: readonly string[];
  };
}

/** An alert as its API takes it. */
export interface PostedAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly startsAt?: string;
  /** It is resolved then; five minutes after it was last posted by default. */
  readonly endsAt?: string;
  readonly generatorURL?: string;
}

/** What a server that runs says and takes. */
export interface AlertmanagerApi {
  readonly url: string;
  /** Those that it has and that are not resolved. */
  alerts(): Promise<readonly ReceivedAlert[]>;
  post(alerts: readonly PostedAlert[]): Promise<void>;
}

export interface Alertmanager extends Program, AlertmanagerApi {
  readonly port: number;
}

const requestTimeoutMs = 10_000;

/** Resolves when it takes alerts. */
export async function startAlertmanager(options: AlertmanagerOptions): Promise<Alertmanager> {
  const { path, folder, config, templates, secrets, timeoutMs = 30_000 } = options;
  const configFile = join(folder, "alertmanager.yaml");
  await Promise.all([
    writeFiles(join(folder, "templates"), templates),
    writeFiles(join(folder, "secrets"), secrets),
    writeFile(configFile, config),
  ]);
  const port = options.port ?? (await findFreePort());
  const url = `http://127.0.0.1:${port}`;
  const program = await startProgram({
    name: "Alertmanager",
    path,
    args: [
      `--config.file=${configFile}`,
      `--storage.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      `--web.external-url=${url}`,
      "--cluster.listen-address=",
    ],
    ready: async () => (await call(`${url}/-/ready`)).ok,
    timeoutMs,
  });
  return {
    ...program,
    ...alertmanagerApi(url),
    port,
  };
}

/** @param url of the server, without a path */
export function alertmanagerApi(url: string): AlertmanagerApi {
  return {
    url,
    alerts: async () => (await (await call(`${url}/api/v2/alerts`)).json()) as readonly ReceivedAlert[],
    async post(alerts) {
      await (await call(`${url}/api/v2/alerts`, alerts)).arrayBuffer();
    },
  };
}

/** Posts the body if there is one. */
async function call(url: string, body?: object): Promise<Response> {
  const answer = await fetch(url, {
    signal: AbortSignal.timeout(requestTimeoutMs),
    ...(body === undefined
      ? {}
      : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`Alertmanager answered ${answer.status}: ${await answer.text()}`);
  return answer;
}

async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(folder, { recursive: true });
  // Only we read them: some are secrets.
  await Promise.all(
    Object.entries(files).map(([name, text]) => writeFile(join(folder, name), text, { mode: 0o600 })),
  );
}
