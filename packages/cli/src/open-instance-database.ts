// The database of an instance for a command that is not that instance: what DATABASE_URL names, the embedded one that
// a running instance has, or the embedded one of DATA_DIR, started for the command and stopped after it.
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EctusError, type Logger } from "@ectus/core";
import {
  type Database,
  findRunningPostgres,
  findSchemaFault,
  openDatabase,
  type RunningPostgres,
} from "@ectus/database";
import type { CommandContext } from "./command-context.ts";
import {
  commandLogging,
  type InstanceConfig,
  type InstanceFlags,
  readInstanceConfig,
} from "./instance-config.ts";
import { loadInstanceSecrets, readInstanceSecrets } from "./instance-secrets.ts";
import {
  configuredUrls,
  embeddedUrls,
  openPostgres,
  type PostgresUrls,
  postgresFolder,
  unreachable,
} from "./open-postgres.ts";
import { whileStoppable } from "./stop-signals.ts";

export interface InstanceDatabase extends PostgresUrls {
  /** Whose server it is: DATABASE_URL's, that of an instance that runs, or one that was started for the command. */
  readonly server: "external" | "running" | "started";
  close(): Promise<void>;
}

export interface OpenInstanceDatabaseOptions {
  readonly instance: InstanceConfig;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Makes an embedded database if there is none. */
  readonly create?: boolean;
}

const waitForOtherMs = 20_000;
const pollMs = 100;

/** @throws EctusError `not_found` when DATA_DIR has no database and none is to be made */
export async function openInstanceDatabase(options: OpenInstanceDatabaseOptions): Promise<InstanceDatabase> {
  const { config, dataDir } = options.instance;
  const urls = configuredUrls(config);
  if (urls !== undefined) return { ...urls, server: "external", close: async () => {} };
  if (options.create !== true && !(await hasEmbeddedDatabase(dataDir))) {
    throw new EctusError("not_found", {
      what: `database in ${dataDir}. Run 'ectus up' or 'ectus migrate' to make one, or name another with --data-dir or DATABASE_URL`,
    });
  }
  // An instance that is starting or stopping has the folder, but nothing that could be connected to.
  const giveUpAt = performance.now() + waitForOtherMs;
  for (;;) {
    const running = await findRunningPostgres(postgresFolder(dataDir));
    if (running !== undefined) return openRunning(running, dataDir);
    try {
      return await startForCommand(options);
    } catch (error) {
      const busy = error instanceof EctusError && error.code === "data_dir_in_use";
      if (!busy || performance.now() > giveUpAt) throw error;
      await delay(pollMs, undefined, { signal: options.signal });
    }
  }
}

/** Whether DATA_DIR has an embedded database, running or not. */
export async function hasEmbeddedDatabase(dataDir: string): Promise<boolean> {
  return (await stat(join(postgresFolder(dataDir), "cluster")).catch(() => undefined)) !== undefined;
}

async function openRunning(running: RunningPostgres, dataDir: string): Promise<InstanceDatabase> {
  const secrets = await readInstanceSecrets(dataDir);
  if (secrets === undefined) {
    throw new EctusError("not_found", {
      what: `file ${join(dataDir, "secrets.json")}, which holds the passwords of the database that runs there. Restore it from a backup`,
    });
  }
  return { ...embeddedUrls(running, secrets), server: "running", close: async () => {} };
}

async function startForCommand({
  instance: { config, dataDir },
  log,
  signal,
}: OpenInstanceDatabaseOptions): Promise<InstanceDatabase> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const secrets = await loadInstanceSecrets(dataDir);
  const postgres = await openPostgres({ config, dataDir, secrets, log, signal });
  return { ownerUrl: postgres.ownerUrl, url: postgres.url, server: "started", close: () => postgres.stop() };
}

export interface CommandDatabase {
  readonly instance: InstanceConfig;
  readonly database: Database;
}

const poolSize = 2;

/**
 * Runs a command's work with the database of its instance, which is closed after it.
 *
 * @throws EctusError `schema_mismatch` when the database has not this version's schema
 */
export async function withInstanceDatabase(
  context: CommandContext,
  flags: InstanceFlags,
  work: (opened: CommandDatabase) => Promise<void>,
): Promise<void> {
  const instance = readInstanceConfig(context, flags);
  const logging = commandLogging(context, instance);
  await whileStoppable({ context, dataDir: instance.dataDir }, async (signal) => {
    await using opened = new AsyncDisposableStack();
    const found = await openInstanceDatabase({ instance, log: logging.module("postgres"), signal });
    opened.defer(() => found.close());
    await refuseOtherSchema(found);
    const database = openDatabase({ url: found.url, poolSize, log: logging.module("database") });
    opened.defer(() => database.close());
    signal.throwIfAborted();
    await work({ instance, database });
  });
}

/** @throws EctusError `schema_mismatch` when the database has not this version's schema */
export async function refuseOtherSchema({ url }: PostgresUrls): Promise<void> {
  const reason = await findSchemaFault(url).catch((error) => {
    throw unreachable(url, error);
  });
  if (reason !== undefined) throw new EctusError("schema_mismatch", { reason });
}
