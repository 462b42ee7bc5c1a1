// Starts and stops a real PostgreSQL 18 of our own on loopback, in a folder, from the programs that npm brings. What it
// prints goes to the log.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { EctusError, errorMessage, type Logger } from "@ectus/core";
import pg from "pg";
import { findEmbeddedBinaries } from "./embedded-binaries.ts";
import {
  type ClusterPaths,
  clusterExists,
  createCluster,
  prepareFolder,
  readPassword,
} from "./embedded-cluster.ts";
import { type FolderLock, lockFolder } from "./embedded-lock.ts";
import { readServerLog, type ServerLog } from "./embedded-log.ts";
import { stopOrphan } from "./embedded-orphan.ts";
import { type AsUser, asSelf, asUser, chooseUser } from "./embedded-user.ts";
import { findFreePort } from "./free-port.ts";

export interface EmbeddedPostgresOptions {
  /** Folder for the cluster, its password and its lock; made if missing. Usually DATA_DIR/postgres. */
  readonly dataDir: string;
  readonly log: Logger;
  /** Port on 127.0.0.1; a free one by default. */
  readonly port?: number;
  /** Settings of postgresql.conf. With `fsync` off the data may be lost with the machine: for tests only. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How long a fast shutdown may take until an immediate one follows, and that until a kill; 10,000 by default. */
  readonly shutdownWaitMs?: number;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedPostgres {
  readonly host: string;
  readonly port: number;
  /** URL of the database `postgres` as the superuser, with the password. */
  readonly superuserUrl: string;
  /** Shuts down: connections are cut, everything committed is on disk. Idempotent. */
  readonly stop: () => Promise<void>;
  /** Resolves when postgres has ended, asked for or not. */
  readonly exited: Promise<ProcessEnd>;
}

export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const host = "127.0.0.1";
// Recovery after a crash may have to replay up to max_wal_size.
const readyTimeoutMs = 120_000;
// An immediate shutdown kills what has not ended after 5 seconds, so it must be given more.
const defaultShutdownWaitMs = 10_000;
const attempts = 20;
const sharedMemoryRetryMs = 250;
const lastLinesWaitMs = 1_000;

/**
 * Starts the cluster of `dataDir`, which is made on first use, and waits until it takes connections. Ends a postgres
 * that an earlier process left behind there.
 *
 * @throws EctusError `data_dir_in_use` when a living process has the folder, `embedded_postgres_failed` otherwise
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { log, signal } = options;
  signal?.throwIfAborted();
  const { paths, lock } = await openFolder(options.dataDir);
  try {
    await stopOrphan(paths.cluster, log);
    const program = await prepare(paths, options);
    const password = await readPassword(paths);
    const server = await startServer(paths, program, options);
    try {
      const superuserUrl = `postgres://postgres:${password}@${host}:${server.port}/postgres`;
      await checkConnection(superuserUrl);
      return handle(server, superuserUrl, lock);
    } catch (error) {
      await stopServer(server);
      throw error;
    }
  } catch (error) {
    lock.release();
    if (error instanceof EctusError || signal?.aborted === true) throw error;
    throw failed(errorMessage(error), error);
  }
}

function handle(server: Server, superuserUrl: string, lock: FolderLock): EmbeddedPostgres {
  let stopping: Promise<void> | undefined;
  return {
    host,
    port: server.port,
    superuserUrl,
    exited: server.exited,
    stop: () => {
      stopping ??= stopServer(server).finally(() => lock.release());
      return stopping;
    },
  };
}

async function openFolder(dataDir: string): Promise<{ paths: ClusterPaths; lock: FolderLock }> {
  try {
    const paths = await prepareFolder(dataDir);
    return { paths, lock: await lockFolder(paths.dir) };
  } catch (error) {
    if (error instanceof EctusError) throw error;
    throw failed(`the folder ${dataDir} cannot be used (${errorMessage(error)})`, error);
  }
}

/** How postgres is run. */
interface Program {
  readonly postgres: string;
  readonly asUser: AsUser;
}

async function prepare(
  paths: ClusterPaths,
  { log, settings, signal }: EmbeddedPostgresOptions,
): Promise<Program> {
  const { initdb, postgres } = await findEmbeddedBinaries();
  const user = process.getuid?.() === 0 ? await chooseUser(paths.cluster, log) : undefined;
  const run = user === undefined ? asSelf : await asUser(user, [initdb, postgres], [paths.dir]);
  if (!(await clusterExists(paths))) {
    const startedAt = performance.now();
    const durable = settings?.fsync !== "off";
    await createCluster({ paths, initdb, asUser: run, user, durable, signal });
    log.info({ durationMs: Math.round(performance.now() - startedAt) }, "made a PostgreSQL cluster");
  }
  return { postgres, asUser: run };
}

interface Server {
  readonly child: ChildProcessByStdio<null, null, Readable>;
  readonly port: number;
  readonly output: ServerLog;
  readonly exited: Promise<ProcessEnd>;
  readonly shutdownWaitMs: number;
}

async function startServer(
  paths: ClusterPaths,
  program: Program,
  options: EmbeddedPostgresOptions,
): Promise<Server> {
  for (let attempt = 1; ; attempt += 1) {
    const server = await spawnServer(paths, program, options);
    const outcome = await waitUntilReady(server, options.signal);
    if (outcome === "ready") return server;
    await stopServer(server);
    options.signal?.throwIfAborted();
    const lines = server.output.recent();
    // Another program may take the port between our choice and postgres' bind; processes of a postgres that was killed
    // end a moment after it.
    const portTaken = options.port === undefined && lines.some((line) => line.includes("could not bind"));
    const memoryInUse = lines.some((line) => line.includes("pre-existing shared memory block"));
    if (attempt === attempts || !(portTaken || memoryInUse)) throw failed(`${outcome}:\n${lines.join("\n")}`);
    if (memoryInUse) await delay(sharedMemoryRetryMs);
  }
}

async function spawnServer(
  paths: ClusterPaths,
  { postgres, asUser }: Program,
  options: EmbeddedPostgresOptions,
): Promise<Server> {
  const port = options.port ?? (await findFreePort(host));
  const settings: Record<string, string> = {
    ...options.settings,
    listen_addresses: host,
    port: String(port),
    unix_socket_directories: "",
    log_destination: "stderr",
    logging_collector: "off",
    log_line_prefix: "",
    lc_messages: "C",
    // The server's own events, but not errors of statements: those go to the client, and may hold personal data.
    log_min_messages: "log",
    log_min_error_statement: "panic",
  };
  const { file, args, ...ids } = asUser(postgres, [
    "-D",
    paths.cluster,
    ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ]);
  // In its own process group, so that Ctrl-C in a terminal reaches only us, and the database is stopped last.
  const child = spawn(file, args, { ...ids, cwd: "/", detached: true, stdio: ["ignore", "ignore", "pipe"] });
  const output = readServerLog(child.stderr, options.log);
  const exited = new Promise<ProcessEnd>((resolve) => {
    child.once("error", (error) => {
      output.add(errorMessage(error));
      if (child.pid === undefined) resolve({ code: null, signal: null });
    });
    child.once("exit", (code, signal) => {
      const resolveEnd = (): void => resolve({ code, signal });
      // Its last lines are still on the way. A process of its own that hangs would keep the pipe open for good.
      const timer = setTimeout(resolveEnd, lastLinesWaitMs);
      child.once("close", () => {
        clearTimeout(timer);
        resolveEnd();
      });
    });
  });
  return { child, port, output, exited, shutdownWaitMs: options.shutdownWaitMs ?? defaultShutdownWaitMs };
}

/** "ready", or why it is not. */
async function waitUntilReady(server: Server, signal: AbortSignal | undefined): Promise<string> {
  const timeout = AbortSignal.timeout(readyTimeoutMs);
  const stopWaiting = AbortSignal.any(signal === undefined ? [timeout] : [timeout, signal]);
  return await Promise.race([
    server.output.ready.then(() => "ready"),
    server.exited.then((end) => `postgres ended with ${end.signal ?? end.code}`),
    new Promise<string>((resolve) => {
      stopWaiting.addEventListener(
        "abort",
        () => resolve(`postgres was not ready within ${readyTimeoutMs} ms`),
        { once: true },
      );
      if (stopWaiting.aborted) resolve("the start was ended");
    }),
  ]);
}

async function stopServer({ child, exited, shutdownWaitMs }: Server): Promise<void> {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
    child.kill(signal);
    const waiting = new AbortController();
    const ended = await Promise.race([
      exited.then(() => true),
      delay(shutdownWaitMs, false, { signal: waiting.signal }).catch(() => false),
    ]);
    waiting.abort();
    if (ended) return;
  }
  throw failed(`process ${child.pid} does not end`);
}

async function checkConnection(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  // A connection that breaks while it is idle says so here, and would end the process if nobody listened.
  client.on("error", () => {});
  try {
    await client.connect();
  } catch (error) {
    throw failed(`it started but does not let us in (${errorMessage(error)})`, error);
  } finally {
    await client.end().catch(() => {});
  }
}

function failed(reason: string, cause?: unknown): EctusError {
  return new EctusError("embedded_postgres_failed", { reason }, { cause });
}
