// `ectus worker` as a process of its own, on a test database and a storage that others share.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestDatabase } from "../postgres/test-database.ts";
import { until } from "../postgres/until.ts";

export interface WorkerProcess {
  readonly pid: number;
  /** Log lines so far. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  /** As nothing can be caught: the process is gone when this resolves. */
  kill(): Promise<void>;
  /** As an operator stops it; gives its exit code. */
  stop(): Promise<number | null>;
}

export interface WorkerProcessOptions {
  readonly database: TestDatabase;
  readonly storageUrl: string;
  readonly signingKey: string;
  readonly bytesPerSecond: number;
  /** Variables besides those that it needs, as credentials for S3. */
  readonly environment?: Readonly<Record<string, string>>;
}

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;
const startTimeoutMs = 40_000;

export async function startWorkerProcess(options: WorkerProcessOptions): Promise<WorkerProcess> {
  const { database, storageUrl, signingKey, bytesPerSecond, environment = {} } = options;
  const folder = await mkdtemp(join(tmpdir(), "ectus-worker-"));
  const child = spawn(process.execPath, [main, "worker", "--data-dir", folder], {
    env: {
      ...environment,
      PATH: process.env.PATH,
      DATABASE_URL: database.appUrl,
      DATABASE_OWNER_URL: database.ownerUrl,
      STORAGE_URL: storageUrl,
      SIGNING_KEY: signingKey,
      EXPORT_BYTES_PER_SECOND: String(bytesPerSecond),
      METRICS_ENABLED: "false",
      OTEL_SDK_DISABLED: "true",
      LOG_FORMAT: "json",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close").finally(() => rm(folder, { recursive: true, force: true }));
  let rest = "";
  let errors = "";
  const lines: Record<string, unknown>[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part.startsWith("{")) lines.push(JSON.parse(part));
  });
  await until(() => {
    if (child.exitCode !== null) throw new Error(`the worker ended with ${child.exitCode}: ${errors}`);
    return lines.some(({ msg }) => msg === "worker ready");
  }, startTimeoutMs);
  const end = async (signal: "SIGKILL" | "SIGTERM"): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await ended;
    return child.exitCode;
  };
  return {
    pid: child.pid as number,
    lines,
    kill: async () => void (await end("SIGKILL")),
    stop: () => end("SIGTERM"),
  };
}
