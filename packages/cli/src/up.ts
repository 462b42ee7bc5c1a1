// Where a process is put together: database, storage, engine, jobs and the API, started in the order in which they
// need each other and stopped in the reverse.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EctusError, errorMessage, type Logging } from "@ectus/core";
import { findRunningPostgres, migrate, openDatabase, startJobs } from "@ectus/database";
import {
  checkExporterFiles,
  countDroppedSeries,
  countLogLines,
  createInstruments,
  createOtlpExporter,
  describeProcess,
  type Instruments,
  noInstruments,
  noTracing,
  Registry,
  registerOpenTelemetryApi,
  startExporter,
  startRuntimeMetrics,
  startTracing,
  type Tracing,
} from "@ectus/monitoring";
import { openStorage } from "@ectus/storage";
import { startServer } from "@ectus/web-api";
import { type Credentials, ensureCredentials } from "./credentials.ts";
import type { InstanceConfig } from "./instance-config.ts";
import { type InstanceSecrets, loadInstanceSecrets } from "./instance-secrets.ts";
import { maintenanceJobs } from "./maintenance-jobs.ts";
import { openEngine, readProviders } from "./open-engine.ts";
import { configuredUrls, openPostgres, postgresFolder, unlessFailed } from "./open-postgres.ts";
import { createProgressBar, type ProgressOutput } from "./progress-bar.ts";
import { portError, tryPort } from "./try-port.ts";
import { readRevision, version } from "./version.ts";

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

  const registry = new Registry();
  const instruments = config.METRICS_ENABLED ? createInstruments(registry) : noInstruments;
  instruments
    .gauge("ectus_build_info")
    .labels({ version, revision: await readRevision(environment) })
    .set(1);

  await using started = new AsyncDisposableStack();
  // A pipe that is closed on the other side takes no more lines; that is no failure of the stop.
  started.defer(() => logging.flush().catch(() => {}));
  started.defer(startRuntimeMetrics({ instruments }));
  started.defer(countDroppedSeries({ registry, instruments }));
  started.defer(countLogLines({ counts: logging.counts, instruments }));
  // The first to start and the last to stop, so that a slow start and a slow stop can be seen.
  const metricsHost = config.METRICS_HOST ?? config.HOST;
  const exporter = config.METRICS_ENABLED
    ? await startExporter({
        registry,
        instruments,
        host: metricsHost,
        port: config.METRICS_PORT,
        files: config,
        log: logging.module("metrics"),
      })
    : undefined;
  started.defer(() => exporter?.close());
  const tracing = openTracing(options.instance, instruments, logging);
  started.defer(() => tracing.close());
  started.defer(registerOpenTelemetryApi(tracing));
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
  const storage = await openStorage(storageUrl(options.instance));
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
  const metricsUrl =
    exporter?.url === undefined ? undefined : `${clientUrl(metricsHost, exporter.url)}/metrics`;
  const credentials = await unlessFailed(
    ensureCredentials({ database, dataDir, apiKeySecrets, baseUrl: url, metricsUrl }),
    postgres.failed,
  );
  signal.throwIfAborted();
  log.info({ url, version }, "ready");

  const running = started.move();
  return {
    url,
    metricsUrl: exporter?.listening === true ? metricsUrl : undefined,
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

function openTracing(
  { config, environment }: InstanceConfig,
  instruments: Instruments,
  logging: Logging,
): Tracing {
  if (config.OTEL_SDK_DISABLED) return noTracing;
  return startTracing({
    exporter: createOtlpExporter({
      endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
      headers: config.OTEL_EXPORTER_OTLP_HEADERS ?? {},
    }),
    resource: describeProcess({
      serviceName: config.OTEL_SERVICE_NAME,
      version,
      attributes: config.OTEL_RESOURCE_ATTRIBUTES,
      environment,
    }),
    sampleRatio: config.OTEL_TRACES_SAMPLER_ARG,
    instruments,
    log: logging.module("tracing"),
  });
}

/** Fails early when the port is taken, unless by the instance of the same folder: the folder's lock says that better. */
async function refuseTakenPort({ config, dataDir }: InstanceConfig): Promise<void> {
  const fault = await tryPort(config.HOST, config.PORT);
  if (fault === undefined) return;
  const isEmbedded = configuredUrls(config) === undefined;
  if (isEmbedded && (await findRunningPostgres(postgresFolder(dataDir))) !== undefined) return;
  throw portError(config.HOST, config.PORT, fault);
}

/** Where an instance keeps files. */
export function storageUrl({ config, dataDir }: InstanceConfig): string {
  return config.STORAGE_URL ?? pathToFileURL(join(dataDir, "files")).href;
}

/** The secrets that API keys are stored under, the newest first. */
function secretsOf({ config }: InstanceConfig, secrets: InstanceSecrets): readonly [string, ...string[]] {
  const [newest = secrets.apiKeySecret, ...older] = config.API_KEY_SECRET ?? [];
  return [newest, ...older];
}

async function openDataDir(dataDir: string): Promise<InstanceSecrets> {
  try {
    // The embedded database's user has to pass through.
    await mkdir(dataDir, { recursive: true, mode: 0o711 });
    return await loadInstanceSecrets(dataDir);
  } catch (error) {
    if (error instanceof EctusError) throw error;
    throw new EctusError(
      "invalid_config",
      {
        faults: `  DATA_DIR: got ${JSON.stringify(dataDir)}, which cannot be used (${errorMessage(error)}); accepts a folder that this user can write to`,
      },
      { cause: error },
    );
  }
}

const everyAddress = new Set(["0.0.0.0", "::", "::0"]);

/** The server's URL as a client reaches it: one that listens on a single address answers only there. */
export function clientUrl(host: string, serverUrl: string): string {
  if (everyAddress.has(host)) return serverUrl;
  const url = new URL(serverUrl);
  url.hostname = host.includes(":") ? `[${host}]` : host;
  return url.origin;
}
