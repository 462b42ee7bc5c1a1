// Starts the processes of a bench and ends them by their id; what they printed last explains a failure.
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { LoadJob, LoadMessage, LoadResult } from "./load-client.ts";

export interface Running {
  readonly pid: number;
  /** Rejects when it has ended by itself. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

const stopTimeoutMs = 30_000;
const keptCharacters = 4_096;
const pollMs = 20;

/** Starts a Node.js program whose output goes nowhere, as a service's that nobody watches. */
export function startNode({ args, env, cwd }: StartOptions): Running {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, args, {
    cwd,
    env: { PATH, HOME, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(-keptCharacters);
  });
  return running(child, args.join(" "), () => output);
}

function running(child: ChildProcess, what: string, output: () => string): Running {
  let stopping = false;
  const exited = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(`ended with ${signal ?? code}`));
  });
  const failed = exited.then((how): never | Promise<never> => {
    if (stopping) return new Promise<never>(() => {});
    throw new Error(`${what} ${how}:\n${output()}`);
  });
  failed.catch(() => {});
  return {
    pid: child.pid ?? 0,
    failed,
    async stop() {
      stopping = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGINT");
      const waiting = new AbortController();
      const ended = await Promise.race([
        exited.then(() => true),
        delay(stopTimeoutMs, false, { signal: waiting.signal }).catch(() => false),
      ]);
      waiting.abort();
      if (ended) return;
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Asks until it is told true. */
export async function until(
  what: string,
  timeoutMs: number,
  process: Running,
  ask: () => Promise<boolean>,
): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await Promise.race([ask().catch(() => false), process.failed]))) {
    if (performance.now() > giveUpAt) throw new Error(`${what} is not ready within ${timeoutMs} ms`);
    await delay(pollMs);
  }
}

export interface Upstream extends Running {
  readonly port: number;
}

export async function startUpstream(): Promise<Upstream> {
  const child = fork(join(import.meta.dirname, "upstream-process.ts"), {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const process = running(child, "the mock upstream", () => "");
  const [port] = (await Promise.race([
    once(child, "message", { signal: AbortSignal.timeout(stopTimeoutMs) }),
    process.failed,
  ])) as [number];
  return { ...process, port };
}

export interface LoadClient extends Running {
  run(
    job: LoadJob,
    on?: { readonly measuring?: () => void; readonly allOpen?: () => void },
  ): Promise<LoadResult>;
}

export function startLoadClient(): LoadClient {
  const child = fork(join(import.meta.dirname, "load-client.ts"), {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const process = running(child, "the load client", () => "");
  return {
    ...process,
    async run(job, on = {}) {
      const answered = new Promise<LoadResult>((resolve) => {
        const onMessage = (message: LoadMessage): void => {
          if (message.state === "measuring") on.measuring?.();
          if (message.state === "all-open") on.allOpen?.();
          if (message.state !== "done") return;
          child.off("message", onMessage);
          resolve(message.result);
        };
        child.on("message", onMessage);
      });
      child.send(job);
      const waiting = new AbortController();
      const late = delay(job.maxMs + 60_000, undefined, { signal: waiting.signal }).then((): never => {
        throw new Error("the load client does not end");
      });
      late.catch(() => {});
      try {
        const result = await Promise.race([answered, process.failed, late]);
        if (result.failures.length > 0)
          throw new Error(`port ${job.port} answered what is no success:\n${result.failures.join("\n\n")}`);
        return result;
      } finally {
        waiting.abort();
      }
    },
  };
}
