// Stops a postgres that outlived the process that had started it (kill -9), so that its cluster can be started again.
import { execFile } from "node:child_process";
import { readFile, readlink, realpath, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { EctusError, type Logger } from "@ectus/core";

const run = promisify(execFile);

/**
 * Stops the postgres that runs on `cluster`, if one does: fast shutdown, then immediate. The caller holds the folder's
 * lock, so that nobody else's database is meant.
 *
 * @param waitMs how long each of the two may take
 * @throws EctusError `embedded_postgres_failed` when it does not end
 */
export async function stopOrphan(cluster: string, log: Logger, waitMs = 10_000): Promise<void> {
  const pidFile = join(cluster, "postmaster.pid");
  const pid = Number.parseInt(await readFile(pidFile, "utf8").catch(() => ""), 10);
  // A pid file of a process that is gone is PostgreSQL's own to remove.
  if (!(pid > 1) || !isAlive(pid)) return;
  if (!(await isPostgresOf(pid, cluster))) {
    // PostgreSQL would take any living process of the same user for a postmaster and refuse to start. In a container
    // numbers come again soon. Processes that still use the cluster are found by its shared memory, not by this file.
    log.info({ pid }, "removed a pid file of PostgreSQL that names another program's process");
    await rm(pidFile, { force: true });
    return;
  }
  for (const signal of ["SIGINT", "SIGQUIT"] as const) {
    log.warn({ pid, signal }, "a PostgreSQL whose Ectus is gone still runs; stopping it");
    if (await endsAfter(pid, signal, waitMs)) return;
  }
  throw new EctusError("embedded_postgres_failed", {
    reason: `an earlier PostgreSQL (process ${pid}) still runs on ${cluster} and does not stop. End it, then start again.`,
  });
}

/** Whether process `pid` is a postgres that was started on `cluster`. */
export async function isPostgresOf(
  pid: number,
  cluster: string,
  platform: NodeJS.Platform = process.platform,
): Promise<boolean> {
  const path = await realpath(cluster);
  if (platform === "linux") {
    const [program] = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    // postgres works in its data folder.
    return (
      basename(program ?? "") === "postgres" && (await readlink(`/proc/${pid}/cwd`).catch(() => "")) === path
    );
  }
  const { stdout } = await run("ps", ["-ww", "-o", "command=", "-p", String(pid)], { timeout: 5_000 }).catch(
    () => ({ stdout: "" }),
  );
  return /(^|\/)postgres\s/.test(stdout) && (stdout.includes(path) || stdout.includes(cluster));
}

async function endsAfter(pid: number, signal: NodeJS.Signals, waitMs: number): Promise<boolean> {
  const end = performance.now() + waitMs;
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone or not ours; isAlive tells which.
  }
  while (isAlive(pid)) {
    if (performance.now() > end) return false;
    await delay(10);
  }
  return true;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
