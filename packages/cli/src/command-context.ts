// What commands use of the process that they run in, so that tests can run them in theirs.
import { readFileSync } from "node:fs";
import type { Environment, LogDestination } from "@ectus/core";
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
  /** Calls back when SIGHUP asks to read the configuration again; returns how to stop that. */
  readonly onReload: (listener: () => void) => () => void;
  /** Calls back with what was thrown and nobody caught; returns how to stop that. */
  readonly onCrash: (listener: (error: unknown) => void) => () => void;
  /** Where the log goes when standard output is for something else. */
  readonly errorLog: LogDestination | 2;
  readonly exitNow: (code: number) => void;
}

// A terminal signals every process of its group, and npm passes the same signal on to its script: it arrives twice,
// some milliseconds apart, and was meant once.
const sameSignalMs = 250;

export function processContext(): CommandContext {
  let onReload: (() => void) | undefined;
  return {
    environment: process.env,
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    progressOutput: process.stderr,
    terminal: process.stdout.isTTY === true,
    onStopSignal(listener) {
      let count = 0;
      let countedAt = Number.NEGATIVE_INFINITY;
      const onSignal = (signal: NodeJS.Signals): void => {
        if (signal === "SIGHUP" && onReload !== undefined) {
          onReload();
          return;
        }
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
    onReload(listener) {
      if (!hasTerminal()) onReload = listener;
      return () => {
        onReload = undefined;
      };
    },
    onCrash(listener) {
      // Rejections that nobody handles arrive here, too.
      process.on("uncaughtException", listener);
      return () => void process.off("uncaughtException", listener);
    },
    errorLog: 2,
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

/**
 * Whether this process belongs to a terminal whose closing would send SIGHUP, also if none of its streams leads there;
 * see tty_nr in proc_pid_stat(5).
 */
export function hasTerminal(stat: () => string = readOwnStat): boolean {
  try {
    const text = stat();
    // The second field, the program's name, may hold anything; tty_nr is the seventh.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[4] !== "0";
  } catch {
    // Where it cannot be known, a closed terminal must end what ran in it.
    return true;
  }
}

const readOwnStat = (): string => readFileSync("/proc/self/stat", "utf8");
