// Runs what goes on until it is stopped, as an instance or a worker: its log, its signals, and its end in order.
import { errorMessage, type Logging } from "@ectus/core";
import type { CommandContext } from "./command-context.ts";
import { exitCodes } from "./exit-codes.ts";
import type { InstanceConfig } from "./instance-config.ts";
import { processLogging, readLevelsAgain } from "./process-logging.ts";
import { whileStoppable } from "./stop-signals.ts";

export interface RunningProcess {
  /** Rejects when a part that it cannot do without has failed. */
  readonly failed: Promise<never>;
  /** Stops everything in order; what is in progress has `graceMs` to end. */
  stop(graceMs?: number): Promise<void>;
}

export interface RunProcessOptions<Running extends RunningProcess> {
  readonly context: CommandContext;
  readonly instance: InstanceConfig;
  readonly flags: { readonly json?: boolean };
  /** The signal is aborted to give up a start that is under way. */
  readonly start: (logging: Logging, signal: AbortSignal) => Promise<Running>;
  readonly onReady: (running: Running) => void;
}

// Without its database a process can end nothing in order; this long it has for what needs none.
const graceAfterFailureMs = 2_000;
// What waits for the database to come back is not waited for longer than this.
const stopAfterFailureMs = 5_000;

export async function runProcess<Running extends RunningProcess>({
  context,
  instance,
  flags,
  start,
  onReady,
}: RunProcessOptions<Running>): Promise<void> {
  const logging = processLogging(instance, flags, context);
  using watching = new DisposableStack();
  watching.defer(context.onReload(() => readLevelsAgain(instance, logging)));
  watching.defer(
    context.onCrash((error) => {
      logging.module("cli").fatal({ err: error }, "crashed: nobody caught what was thrown");
      // What is on its way to the log is written at the exit.
      context.exitNow(exitCodes.failed);
    }),
  );
  const stopAsked = Promise.withResolvers<void>();
  let starting = true;
  let givenUp = false;
  await whileStoppable(
    {
      context,
      dataDir: instance.dataDir,
      onFirst(abort) {
        givenUp = starting;
        if (starting) abort();
        else stopAsked.resolve();
      },
    },
    async (signal) => {
      let running: Running;
      try {
        running = await start(logging, signal);
      } catch (error) {
        // Whoever stops a start gets what they asked for.
        if (givenUp) return;
        throw error;
      }
      starting = false;
      if (givenUp) return running.stop();
      onReady(running);
      await runUntilStopped(running, stopAsked.promise, logging, context);
    },
  );
}

async function runUntilStopped(
  running: RunningProcess,
  stopAsked: Promise<void>,
  logging: Logging,
  context: CommandContext,
): Promise<void> {
  // A worker whose database is away has nothing else that would keep the process.
  const keepAlive = setInterval(() => {}, 60_000);
  try {
    await Promise.race([stopAsked, running.failed]).finally(() => clearInterval(keepAlive));
  } catch (error) {
    const log = logging.module("cli");
    log.fatal({ err: error }, "this process cannot go on");
    const stopping = running.stop(graceAfterFailureMs).catch((failure) => {
      log.error({ err: failure }, "not everything stopped in order");
    });
    const limit = setTimeout(() => {
      context.stderr(`ectus: ${errorMessage(error)}\n`);
      context.exitNow(exitCodes.failed);
    }, stopAfterFailureMs);
    await stopping;
    clearTimeout(limit);
    throw error;
  }
  await running.stop();
}
