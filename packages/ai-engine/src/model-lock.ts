// A lock between processes that get the same file: a file whose time of change its holder renews, so that the lock of
// a process that died is taken over, also from another container that shares only the folder.
import { randomUUID } from "node:crypto";
import { open, rename, rm, stat, utimes } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

export interface FileLockOptions {
  readonly signal: AbortSignal;
  /** Called once if another holder has to be waited for. */
  readonly onWait?: () => void;
  /** A lock that was not renewed for this long is free; 30 s by default. */
  readonly staleMs?: number;
  readonly pollMs?: number;
}

const defaultStaleMs = 30_000;
const defaultPollMs = 200;

/**
 * Waits for the lock, for as long as its holder lives; returns what releases it.
 *
 * @throws the signal's reason when it is aborted
 */
export async function acquireFileLock(path: string, options: FileLockOptions): Promise<() => Promise<void>> {
  const { signal, onWait, staleMs = defaultStaleMs, pollMs = defaultPollMs } = options;
  for (let waited = false; !(await create(path)); ) {
    if (await takeAwayIfStale(path, staleMs)) continue;
    if (!waited) onWait?.();
    waited = true;
    await delay(pollMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  const renewal = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, staleMs / 4).unref();
  return async () => {
    clearInterval(renewal);
    await rm(path, { force: true });
  };
}

async function create(path: string): Promise<boolean> {
  try {
    await (await open(path, "wx")).close();
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

/** Renaming is atomic: of several that find the lock stale, one moves it away. */
async function takeAwayIfStale(path: string, staleMs: number): Promise<boolean> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return true;
  if (Date.now() - facts.mtimeMs < staleMs) return false;
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
    await rm(aside, { force: true });
  } catch {
    // Another process was faster.
  }
  return true;
}
