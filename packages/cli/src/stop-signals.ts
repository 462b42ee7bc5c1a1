// What Ctrl-C and SIGTERM do to a command that runs for a while: the first ends it in order, the second at once.
import { setTimeout as delay } from "node:timers/promises";
import type { CommandContext } from "./command-context.ts";
import { exitCodes } from "./exit-codes.ts";

export interface StoppableOptions {
  readonly context: CommandContext;
  /** Folder whose embedded PostgreSQL must not outlive this process. */
  readonly dataDir: string;
  /** Called at the first signal; by default it only aborts the work's signal. */
  readonly onFirst?: (abort: () => void) => void;
}

const emergencyMs = 2_000;
const tidyMs = 500;

/**
 * Runs work that stop signals end. At a second signal PostgreSQL is stopped without a checkpoint, and the process ends
 * within some two seconds, whatever the work does.
 */
export async function whileStoppable<T>(
  { context, dataDir, onFirst = (abort) => abort() }: StoppableOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const ended = Promise.withResolvers<void>();
  const release = context.onStopSignal((count) => {
    if (count === 1) {
      context.stderr("\nStopping. Once more to stop at once.\n");
      onFirst(() => controller.abort(new Error("stopped by a signal")));
    } else if (count === 2) {
      context.stderr("\nStopping at once.\n");
      controller.abort(new Error("stopped by a signal"));
      void endNow();
    }
  });
  async function endNow(): Promise<void> {
    const timer = new AbortController();
    try {
      // A process that has a PostgreSQL has loaded these long since; a client of the API does without them until now.
      const { stopPostgresAtOnce } = await import("@ectus/database");
      const { postgresFolder } = await import("./open-postgres.ts");
      await stopPostgresAtOnce(postgresFolder(dataDir), emergencyMs);
      // Work that is at its end anyway, such as a start that is given up, tidies better than an exit does.
      await Promise.race([ended.promise, delay(tidyMs, undefined, { signal: timer.signal }).catch(() => {})]);
      await stopPostgresAtOnce(postgresFolder(dataDir), 0);
    } finally {
      timer.abort();
      context.exitNow(exitCodes.failed);
    }
  }
  try {
    return await work(controller.signal);
  } finally {
    ended.resolve();
    release();
  }
}
