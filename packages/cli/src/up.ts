// Where a process is put together: database, storage, engine, jobs and the API, started in the order in which they
// need each other and stopped in the reverse.
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type Config,
  createLogging,
  EctusError,
  type Environment,
  type Logging,
  loadConfig,
} from "@ectus/core";
import { migrate, openDatabase, startJobs } from "@ectus/database";
import { openStorage } from "@ectus/storage";
import { startServer } from "@ectus/web-api";
import { type Credentials, ensureCredentials } from "./credentials.ts";
import { loadInstanceSecrets } from "./instance-secrets.ts";
import { maintenanceJobs } from "./maintenance-jobs.ts";
import { openEngine } from "./open-engine.ts";
import { openPostgres } from "./open-postgres.ts";
import { createProgressBar, type ProgressOutput } from "./progress-bar.ts";
import { version } from "./version.ts";

export interface UpOptions {
  readonly environment: Environment;
  /** Asks nothing of the network. */
  readonly offline: boolean;
  /** Where progress is shown. */
  readonly output: ProgressOutput;
  /** Whether standard output is a terminal. */
  readonly terminal: boolean;
  /** Aborted to give up a start that is under way. */
  readonly signal: AbortSignal;
  readonly logging?: Logging;
}

export interface Instance {
  readonly url: string;
  readonly dataDir: string;
  /** Models that can be asked for. */
  readonly models: readonly string[];
  /** Undefined when the database has tenants that this folder knows no keys of. */
  readonly credentials: Credentials | undefined;
  /** Rejects when a part that the instance cannot do without has failed. */
  readonly failed: Promise<never>;
  /** Stops everything in order; requests in progress have `graceMs` to end. */
  stop(graceMs?: number): Promise<void>;
}

/** Starts an instance. What was started is stopped again if a later part fails. */
export async function startInstance(options: UpOptions): Promise<Instance> {
  const { environment, offline, output, terminal, signal } = options;
  const config = loadConfig(environment, environment.ECTUS_CONFIG);
  const logging =
    options.logging ?? createLogging({ levels: config.LOG_LEVEL, format: logFormat(config, terminal) });
  const dataDir = resolve(config.DATA_DIR);
  // The embedded database's user has to pass through.
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const secrets = await loadInstanceSecrets(dataDir);
  const log = logging.module("cli");

  await using started = new AsyncDisposableStack();
  const openingEngine = openEngine({
    config,
    environment,
    dataDir,
    offline,
    log: logging.module("ai-engine"),
    signal,
    progress: () => createProgressBar({ output, label: "Built-in model" }),
  });
  // Its failure is reported below; until then it must not count as unhandled.
  openingEngine.catch(() => {});
  started.defer(() => logging.flush());
  const postgres = await openPostgres({ config, dataDir, secrets, log: logging.module("postgres"), signal });
  started.defer(() => postgres.stop());
  await migrate({ url: postgres.ownerUrl, log: logging.module("database") });
  const database = openDatabase({
    url: postgres.url,
    poolSize: config.DATABASE_POOL_SIZE,
    log: logging.module("database"),
  });
  started.defer(() => database.close());
  const storage = await openStorage(config.STORAGE_URL ?? pathToFileURL(join(dataDir, "files")).href);
  const engine = await openingEngine;
  started.defer(() => engine.close());
  const jobs = await startJobs({
    database,
    definitions: maintenanceJobs(database, storage),
    log: logging.module("jobs"),
  });
  started.defer(() => jobs.stop());
  signal.throwIfAborted();
  const apiKeySecrets = config.API_KEY_SECRET ?? [secrets.apiKeySecret];
  const server = await startServer({
    host: config.HOST,
    port: config.PORT,
    trustedProxies: config.TRUSTED_PROXIES,
    apiKeySecrets: apiKeySecrets as [string, ...string[]],
    version,
    database,
    storage,
    engine,
    logging,
  }).catch((error: NodeJS.ErrnoException) => {
    throw error.code === "EADDRINUSE" ? portInUse(config.PORT, error) : error;
  });
  let graceMs: number | undefined;
  started.defer(() => server.close(graceMs));
  const credentials = await ensureCredentials({
    database,
    dataDir,
    apiKeySecret: apiKeySecrets[0] as string,
    baseUrl: server.url,
  });
  log.info({ url: server.url, version }, "ready");

  const running = started.move();
  return {
    url: server.url,
    dataDir,
    models: engine.models().map(({ id }) => id),
    credentials,
    failed: postgres.failed,
    async stop(grace) {
      graceMs = grace;
      log.info("stopping");
      await running.disposeAsync();
    },
  };
}

function logFormat({ LOG_FORMAT }: Config, terminal: boolean): "json" | "pretty" {
  if (LOG_FORMAT !== "auto") return LOG_FORMAT;
  return terminal ? "pretty" : "json";
}

function portInUse(port: number, cause: Error): EctusError {
  return new EctusError(
    "invalid_config",
    {
      faults: `  PORT: got ${port}, which another program uses; accepts a free port: try --port 0 or stop that program`,
    },
    { cause },
  );
}
