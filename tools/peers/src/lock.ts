// A lock between processes on one machine. It is SQLite's lock on a file, which the operating system releases when
// its holder dies, so there is no stale lock to judge.
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { EctusError } from "@ectus/core";

export interface LockOptions {
  /** How long to wait for another holder; half an hour, which the slowest build stays well below. */
  readonly timeoutMs?: number;
  /** Called once, when the lock is held by another. */
  readonly onWait?: () => void;
}

const pollMs = 100;
const sqliteBusy = 5;

/**
 * Runs `work` while holding the lock on `file`, which is made if it is missing and stays empty.
 *
 * @throws EctusError `peer_missing` when another holder keeps the lock for longer than the time limit
 */
export async function withLock<T>(file: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const { timeoutMs = 30 * 60_000, onWait } = options;
  using database = new DatabaseSync(file, { timeout: 0 });
  const deadline = performance.now() + timeoutMs;
  for (let waited = false; !tryLock(database); waited = true) {
    if (!waited) onWait?.();
    if (performance.now() > deadline) {
      throw new EctusError("peer_missing", {
        reason: `Another run has held ${file} for ${Math.round(timeoutMs / 1000)} seconds. Wait for it or end it, then try again.`,
      });
    }
    await delay(pollMs);
  }
  return await work();
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec("BEGIN EXCLUSIVE");
    return true;
  } catch (error) {
    if (error instanceof Error && "errcode" in error && error.errcode === sqliteBusy) return false;
    throw error;
  }
}
