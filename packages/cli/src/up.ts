// Where a process is put together: database, storage, engine, jobs and the API, started in the order in which they
// need each other and stopped in the reverse.
import type { Logging } from "@ectus/core";
import { findRunningPostgres, measureOldestExport, migrate, openDatabase, startJobs } from "@ectus/database";
import { checkExporterFiles } from "@ectus/monitoring";
import { openStorage } from "@ectus/storage";
import { startServer } from "@ectus/web-api";
import { clientUrl } from "./client-url.ts";
import { ensureCredentials } from "./credentials.ts";
import type { Credentials } from "./credentials-file.ts";
import { openDataDir, storageUrl } from "./data-dir.ts";
import type { InstanceConfig } from "./instance-config.ts";
import type { InstanceSecrets } from "./instance-secrets.ts";
import { maintenanceJobs } from "./maintenance-jobs.ts";
import { openEngine, readProviders } from "./open-engine.ts";
import { configuredUrls, openPostgres, postgresFolder, unlessFailed } from "./open-postgres.ts";
import { createProgressBar, type ProgressOutput } from "./progress-bar.ts";
import { publishSigningKeys, signingKeysOf } from "./signing-keys.ts";
import { startExports } from "./start-exports.ts";
import { startTelemetry } from "./telemetry.ts";
import { portError, tryPort } from "./try-port.ts";
import { version } from "./version.ts";

export interface UpOptions {
  readonly instance: InstanceConfig;
  /** Asks nothing of the network. */
  readonly offline: boolean;
  /** Where progress is shown. */
  readonly output: ProgressOutput;
  /** Aborted to give up a start that is under way. */
  readonly signal: AbortSignal;
  readonly logging: Logging;
}

export interface Instance {
  readonly url: string;
  /** Where metrics are served; undefined when they are not, or not yet. */
  readonly metricsUrl: string | undefined;
  readonly dataDir: string;
  /** Models that can be asked for. */
  readonly models: readonly string[];
  /** The first of them that answers chats. */
  readonly chatModel: string | undefined;
  /** Undefined when the database has tenants that this folder knows no keys of. */
  readonly credentials: Credentials | undefined;
  /** Rejects when a part that the instance cannot do without has failed. */
  readonly failed: Promise<never>;
  /** Stops everything in order; requests in progress have `graceMs` to end. */
  stop(graceMs?: number): Promise<void>;
}

/** Starts an instance. What was started is stopped again if a later part fails or the start is given up. */
export async function startInstance(options: UpOptions): Promise<Instance> {
  const { offline, output, logging } = options;
  const { config, environment, dataDir } = options.instance;
  const log = logging.module("cli");
  await refuseTakenPort(options.instance);
  // A fault in a file is told before anything is made.
  if (config.METRICS_ENABLED) checkExporterFiles(config);
  const providers = await readProviders(config, environment);
  const secrets = await openDataDir(dataDir);

  await using started = new AsyncDisposableStack();
  const telemetry = await startTelemetry({ instance: options.instance, logging });
  started.defer(() => telemetry.close());
  const { instruments, tracing } = telemetry;
  // A start that fails ends the parts that are still on their way.
  const giveUp = new AbortController();
  const signal = AbortSignal.any([options.signal, giveUp.signal]);
  const openingEngine = openEngine({
    providers,
    dataDir,
    offline,
    log: logging.module("ai-engine"),
    instruments,
    signal,
    progress: () => createProgressBar({ output, label: "Built-in model" }),
  });
  // A failure of it is thrown below; until then it must not count as unhandled.
  openingEngine.catch(() => {});
  started.defer(async () => {
    giveUp.abort(new Error("the start was given up"));
    const engine = await openingEngine.catch(() => undefined);
    await engine?.close();
  });
  const postgres = await openPostgres({ config, dataDir, secrets, log: logging.module("postgres"), signal });
  started.defer(() => postgres.stop());
  // Of the database's steps none can be aborted; each is short, and none begins after the start was given up.
  signal.throwIfAborted();
  await unlessFailed(migrate({ url: postgres.ownerUrl, log: logging.module("database") }), postgres.failed);
  signal.throwIfAborted();
  const database = openDatabase({
    url: postgres.url,
    poolSize: config.DATABASE_POOL_SIZE,
    log: logging.module("database"),
    instruments,
    slowQueryMs: config.SLOW_QUERY_MS,
  });
  started.defer(() => database.close());
  const signingKeys = signingKeysOf(config, secrets);
  await unlessFailed(publishSigningKeys(database, signingKeys), postgres.failed);
  const storage = await openStorage(storageUrl(options.instance), environment);
  const engine = await unlessFailed(openingEngine, postgres.failed);
  const jobs = await unlessFailed(
    startJobs({
      database,
      definitions: maintenanceJobs(database, storage),
      log: logging.module("jobs"),
      tracing,
    }),
    postgres.failed,
  );
  started.defer(() => jobs.stop());
  signal.throwIfAborted();
  if (config.EXPORTS_ENABLED) {
    const parts = { config, database, storage, signingKey: signingKeys[0], telemetry, logging };
    const exports = startExports(parts);
    started.defer(() => exports.stop());
  } else {
    // Workers that are gone tell nothing of what waits for them.
    started.defer(measureOldestExport({ instruments, database }));
  }
  const apiKeySecrets = secretsOf(options.instance, secrets);
  const server = await startServer({
    host: config.HOST,
    port: config.PORT,
    trustedProxies: config.TRUSTED_PROXIES,
    apiKeySecrets,
    version,
    database,
    storage,
    engine,
    logging,
    instruments,
    tracing,
    traceTrustedPeers: config.TRACE_TRUSTED_PEERS,
    slowRequestMs: config.SLOW_REQUEST_MS,
    slowInferenceMs: config.SLOW_INFERENCE_MS,
    logSample: config.LOG_SAMPLE,
  }).catch((error: NodeJS.ErrnoException) => {
    throw error.syscall === "listen" ? portError(config.HOST, config.PORT, error) : error;
  });
  let graceMs: number | undefined;
  started.defer(() => server.close(graceMs));
  const url = clientUrl(config.HOST, server.url);
  const { metricsUrl } = telemetry;
  const credentials = await unlessFailed(
    ensureCredentials({ database, dataDir, apiKeySecrets, baseUrl: url, metricsUrl }),
    postgres.failed,
  );
  signal.throwIfAborted();
  log.info({ url, version }, "ready");

  const running = started.move();
  return {
    url,
    metricsUrl: telemetry.listening ? metricsUrl : undefined,
    dataDir,
    models: engine.models().map(({ id }) => id),
    chatModel: engine.models().find(({ operations }) => operations.includes("chat"))?.id,
    credentials,
    failed: postgres.failed,
    async stop(grace) {
      graceMs = grace;
      log.info("stopping");
      await running.disposeAsync();
    },
  };
}

/** Fails early when the port is taken, unless by the instance of the same folder: the folder's lock says that better. */
async function refuseTakenPort({ config, dataDir }: InstanceConfig): Promise<void> {
  const fault = await tryPort(config.HOST, config.PORT);
  if (fault === undefined) return;
  const isEmbedded = configuredUrls(config) === undefined;
  if (isEmbedded && (await findRunningPostgres(postgresFolder(dataDir))) !== undefined) return;
  throw portError(config.HOST, config.PORT, fault);
}

/** The secrets that API keys are stored under, the newest first. */
function secretsOf({ config }: InstanceConfig, secrets: InstanceSecrets): readonly [string, ...string[]] {
  const [newest = secrets.apiKeySecret, ...older] = config.API_KEY_SECRET ?? [];
  return [newest, ...older];
}
