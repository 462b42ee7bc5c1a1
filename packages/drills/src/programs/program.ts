// Runs another program for as long as a drill or a test needs it: waits until it is ready, keeps the end of what it
// prints, and ends it by its process id, whatever state it is in.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { EctusError, errorMessage } from "@ectus/core";

export interface ProgramOptions {
  /** As people call it; it is in the message when it fails. */
  readonly name: string;
  /** Absolute path of the executable file. */
  readonly path: string;
  readonly args: readonly string[];
  /** Variables on top of this process's own; undefined takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Asked again and again until it says true. One that throws says no; the last reason is told if time runs out. */
  readonly ready: () => Promise<boolean>;
  /** How long it may take to become ready. */
  readonly timeoutMs: number;
}

export interface Program {
  readonly pid: number;
  /** The end of what it printed, standard output and error together. */
  readonly log: () => string;
  /** Its exit status, null when a signal ended it. Resolves when it and what it started are gone, and never rejects. */
  readonly exited: Promise<number | null>;
  /** SIGTERM, and SIGKILL when that does not end it. Resolves when it is gone; calling it again is no fault. */
  readonly stop: () => Promise<void>;
}

const askEveryMs = 50;
const termGraceMs = 5_000;
const keptCharacters = 256 * 1024;
const shownLines = 15;

/**
 * Starts a program and resolves when it is ready.
 *
 * @throws EctusError `program_failed` when it cannot be started, ends or is not ready in time; it is gone by then
 */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const program = spawnProgram(options);
  try {
    await untilReady(program, options);
    return program;
  } catch (error) {
    await program.stop();
    throw error;
  }
}

/** Ends programs in the reverse order of their start, all of them even when ending one fails. */
export async function stopAll(programs: readonly Pick<Program, "stop">[]): Promise<void> {
  const faults: unknown[] = [];
  for (const program of programs.toReversed()) await program.stop().catch((error) => faults.push(error));
  if (faults.length > 0) throw new AggregateError(faults, faults.map(errorMessage).join("; "));
}

function spawnProgram({ name, path, args, env, cwd }: ProgramOptions): Program {
  const [file, ...before] = [...endWithParent(), path];
  const child = spawn(file ?? path, [...before, ...args], {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    // In a process group of its own: Ctrl-C in a terminal reaches only us, and we end it in order.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  const keep = (text: string): void => {
    log = (log + text).slice(-keptCharacters);
  };
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);
  child.on("error", (error) => keep(`${name}: ${errorMessage(error)}\n`));
  const exited = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  let stopping: Promise<void> | undefined;
  return {
    pid: child.pid ?? 0,
    log: () => log,
    exited,
    stop: () => {
      stopping ??= end(child, exited);
      return stopping;
    },
  };
}

async function untilReady(program: Program, { name, ready, timeoutMs }: ProgramOptions): Promise<void> {
  const giveUp = new AbortController();
  const tooLate = delay(timeoutMs, "late" as const, { signal: giveUp.signal });
  tooLate.catch(() => undefined);
  const ended = program.exited.then(() => "ended" as const);
  let lastReason = "";
  try {
    while (true) {
      const answer = ready().catch((error: unknown) => {
        lastReason = `; the last answer was: ${reasonOf(error)}`;
        return false;
      });
      // The exit comes first: a port that another program answers on must not make one that has ended look ready.
      const result = await Promise.race([ended, answer, tooLate]);
      if (result === "ended") throw failed(program, `${name} ended with ${await program.exited}`);
      if (result === "late") throw failed(program, `${name} was not ready in ${timeoutMs} ms${lastReason}`);
      if (result) return;
      await Promise.race([ended, delay(askEveryMs, undefined, { signal: giveUp.signal })]);
    }
  } finally {
    giveUp.abort();
  }
}

// fetch hides why it failed behind "fetch failed".
function reasonOf(error: unknown): string {
  return error instanceof Error && error.cause instanceof Error ? error.cause.message : errorMessage(error);
}

function failed(program: Program, what: string): EctusError {
  const lines = program.log().trimEnd().split("\n").slice(-shownLines);
  return new EctusError("program_failed", {
    reason: [`${what}. It printed at the end:`, ...lines].join("\n  "),
  });
}

async function end(child: ChildProcess, exited: Promise<number | null>): Promise<void> {
  if (child.pid === undefined) return;
  child.kill("SIGTERM");
  // A drill may have suspended it; it then takes the first signal once it goes on.
  child.kill("SIGCONT");
  const waited = new AbortController();
  const grace = delay(termGraceMs, "late" as const, { signal: waited.signal }).catch(() => "late" as const);
  const result = await Promise.race([exited, grace]);
  waited.abort();
  if (result !== "late") return;
  try {
    // The whole group: what it started may hold its output open.
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // Gone between the two.
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

// Has the kernel end the program when this process dies without having stopped it. setpriv is part of util-linux.
function endWithParent(): readonly string[] {
  if (process.platform !== "linux") return [];
  for (const setpriv of ["/usr/bin/setpriv", "/bin/setpriv"]) {
    try {
      accessSync(setpriv, constants.X_OK);
      return [setpriv, "--pdeathsig", "TERM", "--"];
    } catch {
      // Without it, a program may outlive us when we are killed.
    }
  }
  return [];
}
