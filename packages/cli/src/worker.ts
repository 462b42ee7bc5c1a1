// Where a worker is put together: database, storage and the exports that it runs, apart from any API.
import type { SigningKey } from "@ectus/bag";
import { EctusError, type Logging } from "@ectus/core";
import { type Database, findRunningPostgres, migrate, openDatabase } from "@ectus/database";
import { checkExporterFiles } from "@ectus/monitoring";
import { openStorage } from "@ectus/storage";
import { openDataDir, storageUrl } from "./data-dir.ts";
import type { InstanceConfig } from "./instance-config.ts";
import { type InstanceDatabase, openInstanceDatabase, refuseOtherSchema } from "./open-instance-database.ts";
import { checkReachable, postgresFolder } from "./open-postgres.ts";
import type { RunningProcess } from "./run-process.ts";
import { publishSigningKeys, signingKeysOf } from "./signing-keys.ts";
import { startExports } from "./start-exports.ts";
import { startTelemetry } from "./telemetry.ts";
import { version } from "./version.ts";

export interface WorkerOptions {
  readonly instance: InstanceConfig;
  /** Aborted to give up a start that is under way. */
  readonly signal: AbortSignal;
  readonly logging: Logging;
}

export interface Worker extends RunningProcess {
  /** Where metrics are served; undefined when they are not, or not yet. */
  readonly metricsUrl: string | undefined;
  readonly database: InstanceDatabase["server"];
}

/** Starts a worker. What was started is stopped again if a later part fails or the start is given up. */
export async function startWorker({ instance, signal, logging }: WorkerOptions): Promise<Worker> {
  const { config } = instance;
  const log = logging.module("cli");
  // A fault in a file is told before anything is made.
  if (config.METRICS_ENABLED) checkExporterFiles(config);

  await using started = new AsyncDisposableStack();
  const telemetry = await startTelemetry({ instance, logging });
  started.defer(() => telemetry.close());
  const postgres = await openInstanceDatabase({
    instance,
    log: logging.module("postgres"),
    signal,
    create: true,
  });
  started.defer(() => postgres.close());
  signal.throwIfAborted();
  if (postgres.server === "external") await checkReachable(postgres.ownerUrl, signal);
  // An instance that runs has the schema that it needs; what is not in use yet gets this version's.
  if (postgres.server === "running") await refuseOtherSchema(postgres);
  else await migrate({ url: postgres.ownerUrl, log: logging.module("database") });
  signal.throwIfAborted();
  const database = openDatabase({
    url: postgres.url,
    poolSize: config.DATABASE_POOL_SIZE,
    log: logging.module("database"),
    instruments: telemetry.instruments,
    slowQueryMs: config.SLOW_QUERY_MS,
  });
  started.defer(() => database.close());
  const storage = await openStorage(storageUrl(instance), instance.environment);
  // Else its bags are ready, and nobody finds their files.
  if (postgres.server === "external" && config.STORAGE_URL === undefined)
    log.warn(
      { storage: storageUrl(instance) },
      "STORAGE_URL is unset: the API has to keep files in this folder, too",
    );
  const exports = startExports({
    config,
    database,
    storage,
    signingKey: await openSigningKey(instance, database),
    telemetry,
    logging,
  });
  started.defer(() => exports.stop());
  const embedded = await watchEmbedded(postgres, instance);
  started.defer(embedded.stop);
  signal.throwIfAborted();
  log.info({ database: postgres.server, version }, "worker ready");

  const running = started.move();
  return {
    database: postgres.server,
    metricsUrl: telemetry.listening ? telemetry.metricsUrl : undefined,
    failed: embedded.failed,
    async stop() {
      log.info("stopping");
      await running.disposeAsync();
    },
  };
}

/** The key of the instance that shares the folder, or one of its own; either is published for whoever verifies. */
async function openSigningKey({ config, dataDir }: InstanceConfig, database: Database): Promise<SigningKey> {
  // A worker that is given all it needs leaves nothing in the folder.
  const secrets = config.SIGNING_KEY === undefined ? await openDataDir(dataDir) : { signingKey: "" };
  const keys = signingKeysOf(config, secrets);
  await publishSigningKeys(database, keys);
  return keys[0];
}

const watchEveryMs = 1_000;

/**
 * Tells when the embedded database that was found has ended. An instance that starts again has it at another port, where
 * nobody here would look.
 */
async function watchEmbedded(
  { server }: InstanceDatabase,
  { dataDir }: InstanceConfig,
): Promise<{ readonly failed: Promise<never>; stop(): void }> {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  failed.catch(() => {});
  if (server === "external") return { failed, stop() {} };
  const folder = postgresFolder(dataDir);
  const first = await findRunningPostgres(folder);
  const timer = setInterval(async () => {
    const now = await findRunningPostgres(folder).catch(() => undefined);
    if (now?.pid === first?.pid && now?.port === first?.port) return;
    clearInterval(timer);
    reject(
      new EctusError("embedded_postgres_failed", {
        reason:
          "the instance that it belongs to has stopped, and this worker with it. Start it again after the instance.",
      }),
    );
  }, watchEveryMs);
  return { failed, stop: () => clearInterval(timer) };
}
