// What commands use of the process that they run in, so that tests can run them in theirs.
import { readFileSync } from "node:fs";
import type { Environment } from "@ectus/core";
import type { ProgressOutput } from "./progress-bar.ts";

export interface CommandContext {
  readonly environment: Environment;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly progressOutput: ProgressOutput;
  /** Whether standard output is a terminal. */
  readonly terminal: boolean;
  /** Calls back at each signal to stop with how many there were; returns how to stop that. */
  readonly onStopSignal: (listener: (count: number) => void) => () => void;
  readonly exitNow: (code: number) => void;
}

// A terminal signals every process of its group, and npm passes the same signal on to its script: it arrives twice,
// some milliseconds apart, and was meant once.
const sameSignalMs = 250;

export function processContext(): CommandContext {
  return {
    environment: process.env,
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    progressOutput: process.stderr,
    terminal: process.stdout.isTTY === true,
    onStopSignal(listener) {
      let count = 0;
      let countedAt = Number.NEGATIVE_INFINITY;
      const onSignal = (): void => {
        const now = performance.now();
        if (now - countedAt < sameSignalMs) return;
        countedAt = now;
        listener(++count);
      };
      const signals = stopSignals();
      for (const signal of signals) process.on(signal, onSignal);
      return () => {
        for (const signal of signals) process.off(signal, onSignal);
      };
    },
    exitNow: (code) => process.exit(code),
  };
}

/** SIGHUP is a terminal that was closed, unless it is to be ignored: so nohup starts programs that are to go on. */
export function stopSignals(status: () => string = readOwnStatus): NodeJS.Signals[] {
  try {
    const ignored = BigInt(`0x${/^SigIgn:\s*([\da-f]+)$/m.exec(status())?.[1]}`);
    return (ignored & 1n) === 0n ? ["SIGINT", "SIGTERM", "SIGHUP"] : ["SIGINT", "SIGTERM"];
  } catch {
    // Where it cannot be known, nohup must keep its meaning.
    return ["SIGINT", "SIGTERM"];
  }
}

const readOwnStatus = (): string => readFileSync("/proc/self/status", "utf8");
