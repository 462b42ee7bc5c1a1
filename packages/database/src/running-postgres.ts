// Finds the embedded PostgreSQL that another process runs on a folder, and ends our own at once when there is no time
// for an orderly stop.
import { readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isPostgresOf } from "./embedded-orphan.ts";

export interface RunningPostgres {
  readonly pid: number;
  readonly host: string;
  readonly port: number;
}

/**
 * The PostgreSQL that runs on `dataDir` (DATA_DIR/postgres) and takes connections, whoever started it.
 *
 * @returns undefined when none does
 */
export async function findRunningPostgres(dataDir: string): Promise<RunningPostgres | undefined> {
  const file = await readPidFile(dataDir);
  if (file === undefined || file.status !== "ready") return undefined;
  const { pid, host, port } = file;
  return { pid, host, port };
}

/**
 * Ends the PostgreSQL of `dataDir` without a checkpoint, if this process holds the folder; the next start recovers from
 * its log, and nothing that was committed is lost. Does nothing otherwise.
 *
 * @param waitMs after which it is killed
 */
export async function stopPostgresAtOnce(dataDir: string, waitMs = 2_000): Promise<void> {
  const holder = Number(await readFile(join(dataDir, "lock.pid"), "utf8").catch(() => ""));
  if (holder !== process.pid) return;
  const running = await readPidFile(dataDir);
  if (running === undefined) return;
  // Immediate shutdown (PostgreSQL manual, "Shutting Down the Server"): its children end with it.
  signalTo(running.pid, "SIGQUIT");
  const killAt = performance.now() + waitMs;
  while (signalTo(running.pid, 0)) {
    if (performance.now() > killAt) {
      signalTo(running.pid, "SIGKILL");
      return;
    }
    await delay(10);
  }
}

interface PidFile extends RunningPostgres {
  readonly status: string;
}

/** What a living postgres wrote into postmaster.pid (its lines are listed in PostgreSQL's pidfile.h). */
async function readPidFile(dataDir: string): Promise<PidFile | undefined> {
  const dir = await realpath(dataDir).catch(() => dataDir);
  const cluster = join(dir, "cluster");
  const lines = (await readFile(join(cluster, "postmaster.pid"), "utf8").catch(() => "")).split("\n");
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  if (!(pid > 1 && port > 0) || !(await isPostgresOf(pid, cluster))) return undefined;
  return { pid, port, host: lines[5]?.trim() || "127.0.0.1", status: lines[7]?.trim() ?? "" };
}

/** False when there is no such process. */
function signalTo(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}
