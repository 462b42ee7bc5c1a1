// A command context for tests: remembers what a command prints, and gives it stop signals.
import type { Environment } from "@ectus/core";
import type { CommandContext } from "./command-context.ts";
import { runProgram } from "./program.ts";

export interface RecordedRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RecordedContext {
  readonly context: CommandContext;
  readonly out: () => string;
  readonly err: () => string;
  /** Stands for one SIGINT. */
  readonly signal: () => void;
  /** Stands for a SIGHUP that asks to read the configuration again. */
  readonly reload: () => void;
  /** Stands for an exception that nobody catches. */
  readonly crash: (error: unknown) => void;
  /** Codes with which the process would have ended at once. */
  readonly exits: readonly number[];
  /** Resolves when `text` has been printed, on either output. */
  readonly printed: (text: string) => Promise<void>;
}

export function recordContext(environment: Environment): RecordedContext {
  let out = "";
  let err = "";
  let signals = 0;
  const exits: number[] = [];
  const listeners = new Set<(count: number) => void>();
  const reloads = new Set<() => void>();
  const crashes = new Set<(error: unknown) => void>();
  const waiting = new Set<() => void>();
  const tell = (): void => {
    for (const look of waiting) look();
  };
  const toError = (text: string): void => {
    err += text;
    tell();
  };
  return {
    context: {
      // Several instances of several tests run at once.
      environment: { METRICS_PORT: "0", ...environment },
      stdout(text) {
        out += text;
        tell();
      },
      stderr: toError,
      progressOutput: { write: toError },
      terminal: false,
      onStopSignal(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      onReload(listener) {
        reloads.add(listener);
        return () => reloads.delete(listener);
      },
      onCrash(listener) {
        crashes.add(listener);
        return () => crashes.delete(listener);
      },
      errorLog: { write: toError },
      exitNow(code) {
        exits.push(code);
        tell();
      },
    },
    out: () => out,
    err: () => err,
    signal() {
      signals += 1;
      for (const listener of listeners) listener(signals);
    },
    reload() {
      for (const listener of reloads) listener();
    },
    crash(error) {
      for (const listener of crashes) listener(error);
    },
    exits,
    printed: (text) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!out.includes(text) && !err.includes(text)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

/** Runs a command line to its end. */
export async function runRecorded(environment: Environment, ...args: string[]): Promise<RecordedRun> {
  const { context, out, err } = recordContext(environment);
  const code = await runProgram(args, context);
  return { code, out: out(), err: err() };
}
