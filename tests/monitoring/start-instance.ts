// The whole program as a process of its own, as an operator runs it: on a test database, with a double of an upstream
// as its provider, and its log lines read from its standard output.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startUpstream, type Upstream } from "../openai-upstream/upstream.ts";
import { createTestDatabase } from "../postgres/test-database.ts";
import { until } from "../postgres/until.ts";

export interface Instance {
  readonly url: string;
  /** Where its metrics are served, as credentials.json has it. */
  readonly metricsUrl: string;
  readonly operatorKey: string;
  /** Of the demo tenant. */
  readonly key: string;
  readonly upstream: Upstream;
  /** Of the database, as the role that owns the schema. */
  readonly ownerUrl: string;
  readonly pid: number;
  /** Log lines so far. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  /** All that it has printed so far, as it came. */
  stdout(): string;
  stderr(): string;
  stop(): Promise<void>;
}

export const chatModel = "test-chat";
export const embeddingModel = "test-embedding";
/** A model that no price is known of. */
export const freeModel = "test-free";
/** A model whose first provider is one that nobody runs. */
export const fallbackModel = "test-fallback";

/** The built-in model, where one is served. */
export const builtInModel = "test-built-in";

const main = new URL("../../packages/cli/src/main.ts", import.meta.url).pathname;
const startTimeoutMs = 40_000;

/**
 * @param environment variables on top of those that the tests need
 * @param modelFile of a built-in model that is served, too
 */
export async function startInstance(
  environment: Readonly<Record<string, string>> = {},
  modelFile?: string,
): Promise<Instance> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "ectus-instance-"));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const database = await createTestDatabase();
  started.defer(() => database.drop());
  const upstream = await startUpstream();
  started.defer(() => upstream.close());
  const providersFile = join(folder, "providers.yaml");
  // JSON is YAML.
  await writeFile(providersFile, JSON.stringify(providersOf(upstream, modelFile)));
  const child = spawn(process.execPath, [main, "up", "--port", "0", "--data-dir", folder, "--offline"], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: database.appUrl,
      DATABASE_OWNER_URL: database.ownerUrl,
      AI_PROVIDERS: providersFile,
      HOST: "127.0.0.1",
      METRICS_PORT: "0",
      LOG_FORMAT: "json",
      ...environment,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  started.defer(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await ended;
  });
  const lines: Record<string, unknown>[] = [];
  let rest = "";
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      printed[name] += text;
    });
  child.stdout.on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part.startsWith("{")) lines.push(JSON.parse(part));
  });
  await until(() => {
    const all = printed.stdout + printed.stderr;
    if (child.exitCode !== null) throw new Error(`the instance ended with ${child.exitCode}: ${all}`);
    return lines.some(({ msg }) => msg === "ready") && all.includes("Ectus-R answers at");
  }, startTimeoutMs);
  const credentials = JSON.parse(await readFile(join(folder, "credentials.json"), "utf8"));
  const running = started.move();
  return {
    url: credentials.baseUrl,
    metricsUrl: credentials.metricsUrl,
    operatorKey: credentials.operatorKey,
    key: credentials.tenants[0].key,
    upstream,
    ownerUrl: database.ownerUrl,
    pid: child.pid as number,
    lines,
    stdout: () => printed.stdout,
    stderr: () => printed.stderr,
    stop: () => running.disposeAsync(),
  };
}

function providersOf({ baseUrl }: Upstream, modelFile: string | undefined): object {
  const double = { type: "openai", baseUrl, apiKey: "any", retries: 0 };
  const chat = [{ provider: "double", model: "upstream-chat" }];
  const price = { inputPerMillionUsd: 1, outputPerMillionUsd: 2 };
  return {
    providers: {
      double,
      // A port that nothing listens on.
      nobody: { ...double, baseUrl: "http://127.0.0.1:1/v1" },
      ...(modelFile === undefined
        ? {}
        : { local: { type: "llama.cpp", models: { small: modelFile }, contextTokens: 1024 } }),
    },
    models: {
      [chatModel]: { operations: ["chat"], price, routes: chat },
      [freeModel]: { operations: ["chat"], routes: chat },
      [fallbackModel]: {
        operations: ["chat"],
        routes: [{ provider: "nobody", model: "upstream-chat" }, ...chat],
      },
      [embeddingModel]: {
        operations: ["embeddings"],
        price,
        routes: [{ provider: "double", model: "upstream-embedding" }],
      },
      ...(modelFile === undefined
        ? {}
        : { [builtInModel]: { operations: ["chat"], routes: [{ provider: "local", model: "small" }] } }),
    },
  };
}
