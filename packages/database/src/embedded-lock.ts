// Keeps a folder for one process. The lock is the kernel's (a record lock, taken through SQLite, which Node.js has
// built in): it ends with the process however that ends, so there is no stale lock, and no process id to be mistaken
// for another's after a restart or in another container that shares the folder.
import { rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { EctusError } from "@ectus/core";

/** Files that the lock uses in its folder. They stay when it is released; the kernel's lock counts, not they. */
const lockFile = "lock";
const holderFile = "lock.pid";

export interface FolderLock {
  /** Lets others have the folder. Idempotent. */
  readonly release: () => void;
}

/**
 * Takes `dir` for this process.
 *
 * @throws EctusError `data_dir_in_use`, with the holder's process id, when a living process has it
 */
export async function lockFolder(dir: string): Promise<FolderLock> {
  const database = new DatabaseSync(join(dir, lockFile), { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw error;
    const pid = Number(await readFile(join(dir, holderFile), "utf8").catch(() => ""));
    throw new EctusError("data_dir_in_use", pid > 0 ? { dir, pid } : { dir }, { cause: error });
  }
  try {
    // Only for the message that the next one gets.
    writeFileSync(join(dir, holderFile), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database.close();
    throw error;
  }
  return {
    release() {
      if (!database.isOpen) return;
      rmSync(join(dir, holderFile), { force: true });
      database.close();
    },
  };
}

// https://www.sqlite.org/rescode.html#busy
const sqliteBusy = 5;

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === sqliteBusy;
}
