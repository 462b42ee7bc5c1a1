// What commands use of the process that they run in, so that tests can run them in theirs.
import type { Environment } from "@ectus/core";
import type { ProgressOutput } from "./progress-bar.ts";

export interface CommandContext {
  readonly environment: Environment;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly progressOutput: ProgressOutput;
  /** Whether standard output is a terminal. */
  readonly terminal: boolean;
  /** Calls back at each SIGINT or SIGTERM with how many there were; returns how to stop that. */
  readonly onStopSignal: (listener: (count: number) => void) => () => void;
  readonly exitNow: (code: number) => void;
}

export function processContext(): CommandContext {
  return {
    environment: process.env,
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    progressOutput: process.stderr,
    terminal: process.stdout.isTTY === true,
    onStopSignal(listener) {
      let count = 0;
      const onSignal = (): void => listener(++count);
      process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
      return () => {
        process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      };
    },
    exitNow: (code) => process.exit(code),
  };
}
