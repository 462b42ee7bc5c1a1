// The database of an instance: the one that DATABASE_URL names, or an embedded one in DATA_DIR.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Config, EctusError, errorMessage, type Logger } from "@ectus/core";
import {
  appRole,
  createLoginRoles,
  type EmbeddedPostgres,
  findRunningPostgres,
  ownerRole,
  startEmbeddedPostgres,
} from "@ectus/database";
import pg from "pg";
import type { InstanceSecrets } from "./instance-secrets.ts";

/** URLs of one database in its two roles. */
export interface PostgresUrls {
  /** As the role that owns the schema. */
  readonly ownerUrl: string;
  /** As the application. */
  readonly url: string;
}

export interface Postgres extends PostgresUrls {
  /** Rejects if an embedded server ends by itself. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

const databaseName = "ectus";
const connectTimeoutMs = 10_000;
// How long after its connections broke a server's own end may be known.
const endShowsMs = 500;

/** Folder of the embedded database. */
export const postgresFolder = (dataDir: string): string => join(dataDir, "postgres");

/** The URLs that the configuration names; undefined if the database is the embedded one. */
export function configuredUrls({ DATABASE_URL, DATABASE_OWNER_URL }: Config): PostgresUrls | undefined {
  if (DATABASE_URL === undefined) return undefined;
  return { ownerUrl: DATABASE_OWNER_URL ?? DATABASE_URL, url: DATABASE_URL };
}

/** URLs of an embedded database at `host:port`. */
export function embeddedUrls(
  { host, port }: { readonly host: string; readonly port: number },
  secrets: InstanceSecrets,
): PostgresUrls {
  const urlAs = (role: string, password: string): string =>
    `postgres://${role}:${password}@${host}:${port}/${databaseName}`;
  return {
    ownerUrl: urlAs(ownerRole, secrets.databaseOwnerPassword),
    url: urlAs(appRole, secrets.databaseAppPassword),
  };
}

export async function openPostgres(options: {
  readonly config: Config;
  readonly dataDir: string;
  readonly secrets: InstanceSecrets;
  readonly log: Logger;
  readonly signal: AbortSignal;
}): Promise<Postgres> {
  const { config, dataDir, secrets, log, signal } = options;
  const urls = configuredUrls(config);
  if (urls !== undefined) {
    await checkReachable(urls.ownerUrl, signal);
    return { ...urls, failed: new Promise<never>(() => {}), stop: async () => {} };
  }
  const server = await startEmbeddedPostgres({ dataDir: postgresFolder(dataDir), log, signal });
  try {
    await prepare(server.superuserUrl, secrets);
  } catch (error) {
    const end = await Promise.race([server.exited, delay(endShowsMs)]);
    await server.stop();
    throw end === undefined ? error : endedByItself(end);
  }
  const release = await endWithProcess(dataDir);
  let stopping = false;
  const failed = server.exited.then((end): never | Promise<never> => {
    release();
    if (stopping) return new Promise<never>(() => {});
    throw endedByItself(end);
  });
  failed.catch(() => {});
  return {
    ...embeddedUrls(server, secrets),
    failed,
    async stop() {
      stopping = true;
      await server.stop();
      release();
    },
  };
}

function endedByItself({ code, signal }: Awaited<EmbeddedPostgres["exited"]>): EctusError {
  return new EctusError("embedded_postgres_failed", {
    reason: `it ended by itself (${signal ?? `exit code ${code}`}). Start again; the data is recovered from its log.`,
  });
}

/**
 * The result of work on a database, or the reason why the database failed meanwhile. A server that ends shows first as a
 * broken connection, so a failure of the work waits a moment for the better reason.
 */
export async function unlessFailed<T>(work: Promise<T>, failed: Promise<never>): Promise<T> {
  try {
    return await Promise.race([work, failed]);
  } catch (error) {
    await Promise.race([failed, delay(endShowsMs)]);
    throw error;
  }
}

/** Ends PostgreSQL when this process ends without stopping it, as by an exception that nobody caught. */
async function endWithProcess(dataDir: string): Promise<() => void> {
  const running = await findRunningPostgres(postgresFolder(dataDir));
  const onExit = (): void => {
    if (running === undefined) return;
    try {
      // Without a checkpoint: nothing here can wait for one.
      process.kill(running.pid, "SIGQUIT");
    } catch {
      // It has ended before.
    }
  };
  process.once("exit", onExit);
  return () => process.off("exit", onExit);
}

/** Without this, a host that drops packets would hold a start for as long as TCP tries. */
export async function checkReachable(url: string, signal: AbortSignal): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: connectTimeoutMs });
  client.on("error", () => {});
  const end = (): void => void client.end().catch(() => {});
  signal.addEventListener("abort", end, { once: true });
  try {
    signal.throwIfAborted();
    await client.connect();
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(url, error);
  } finally {
    signal.removeEventListener("abort", end);
    end();
  }
}

/** The error for a database that does not answer; its password is not in it. */
export function unreachable(url: string, cause: unknown): EctusError {
  const { hostname, port, pathname } = new URL(url);
  const address = `${hostname}:${port || 5432}${pathname}`;
  return new EctusError("database_unreachable", { address, reason: errorMessage(cause) }, { cause });
}

async function prepare(superuserUrl: string, secrets: InstanceSecrets): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl, connectionTimeoutMillis: connectTimeoutMs });
  // A server that ends meanwhile says so here; the query rejects.
  client.on("error", () => {});
  await client.connect();
  try {
    // Each time: whoever has lost secrets.json gets to the data with the new passwords.
    await createLoginRoles(client, {
      owner: secrets.databaseOwnerPassword,
      app: secrets.databaseAppPassword,
    });
    const found = await client.query("select from pg_database where datname = $1", [databaseName]);
    if (found.rowCount === 0) await client.query(`create database ${databaseName} owner ${ownerRole}`);
  } finally {
    await client.end().catch(() => {});
  }
}
