// What only a process of its own shows: exit codes, signals, and that nothing outlives it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { contextEnvironment, runInContext } from "@ectus/core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startUpstream, type Upstream } from "../../../tests/openai-upstream/upstream.ts";

const main = join(import.meta.dirname, "main.ts");
let upstream: Upstream;
let folder: string;
let providers: string;

beforeAll(async () => {
  upstream = await startUpstream();
  folder = await mkdtemp(join(tmpdir(), "ectus-main-"));
  providers = join(folder, "providers.yaml");
  await writeFile(
    providers,
    `providers:\n  double: { type: openai, baseUrl: "${upstream.baseUrl}" }\nmodels:\n  double: { operations: [chat], routes: [{ provider: double, model: double }] }\n`,
  );
});
afterAll(async () => {
  await upstream.close();
  await rm(folder, { recursive: true, force: true });
});

interface Ectus {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly err: () => string;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

const running: Ectus[] = [];
afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill("SIGTERM");
    await ended;
  }
});

function ectus(...args: string[]): Ectus {
  return start([main, ...args]);
}

function start(
  args: readonly string[],
  program = process.execPath,
  environment: Readonly<Record<string, string>> = {},
): Ectus {
  const child = spawn(program, args, {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      PORT: "0",
      METRICS_PORT: "0",
      HOST: "127.0.0.1",
      AI_PROVIDERS: providers,
      ...environment,
    },
    // In a session of its own it has no terminal, wherever the tests run.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal }));
  const started = { child, out: () => out, err: () => err, ended };
  running.push(started);
  return started;
}

async function until(condition: () => Promise<boolean> | boolean, what: () => string): Promise<void> {
  const giveUpAt = performance.now() + 25_000;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`not within 25 s: ${what()}`);
    await delay(5);
  }
}

/** The URL and the key of an instance that has become ready. */
async function ready({ out, err }: Ectus): Promise<{ url: string; key: string }> {
  await until(
    () => out().includes("}\n"),
    () => `ready\n${err()}`,
  );
  const { url, credentialsFile } = JSON.parse(out());
  return { url, key: JSON.parse(await readFile(credentialsFile, "utf8")).tenants[0].key };
}

/** Opens a stream that sends its first chunk and then nothing more. */
async function hangingStream({ url, key }: { url: string; key: string }): Promise<void> {
  upstream.next({ hang: "mid-stream" });
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "double", messages: [{ role: "user", content: "Hello" }], stream: true }),
  });
  const reader = answer.body?.getReader();
  await reader?.read();
  // The connection breaks when the process ends.
  reader?.read().catch(() => {});
}

/** Programs that work in `dataDir` or have it in their command line. */
async function processesOf(dataDir: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    if (command.includes(dataDir) || cwd.startsWith(dataDir)) found.push(command.replaceAll("\0", " "));
  }
  return found;
}

test("the exit code of the process is the command's", async () => {
  const typo = ectus("stratus");
  expect(await typo.ended).toEqual({ code: 2, signal: null });
  expect(typo.err()).toContain("unknown command 'stratus'");
  expect(await ectus("--version").ended).toEqual({ code: 0, signal: null });
});

test("a reader that has enough is no failure", async () => {
  const { child, err, ended } = ectus("config");
  child.stdout?.destroy();
  expect(await ended).toEqual({ code: 0, signal: null });
  expect(err()).toBe("");
});

test.skipIf(process.platform !== "linux")(
  "an instance whose messages nobody reads any more stops in order all the same",
  async () => {
    const dataDir = join(folder, "unread");
    const up = ectus("up", "--json", "--data-dir", dataDir);
    await ready(up);
    up.child.stdout?.destroy();
    up.child.stderr?.destroy();
    up.child.kill("SIGINT");
    expect(await up.ended).toEqual({ code: 0, signal: null });
    expect(await processesOf(dataDir)).toEqual([]);
  },
);

test.skipIf(process.platform !== "linux")(
  "a signal that arrives twice at once is one, and what it stops ends in order",
  async () => {
    const up = ectus("up", "--json", "--data-dir", join(folder, "twice"));
    await ready(up);
    // npm passes Ctrl-C on to its script, which has got it from the terminal already.
    up.child.kill("SIGINT");
    up.child.kill("SIGTERM");
    expect(await up.ended).toEqual({ code: 0, signal: null });
    expect(up.err()).not.toContain("at once.\n\nStopping at once");
    expect(await processesOf(join(folder, "twice"))).toEqual([]);
  },
);

test.skipIf(process.platform !== "linux").each(["SIGINT", "SIGTERM"] as const)(
  "a second %s ends the process at once, though a stream runs, and leaves no PostgreSQL behind",
  async (signal) => {
    const dataDir = join(folder, "twice");
    const up = ectus("up", "--json", "--data-dir", dataDir);
    await hangingStream(await ready(up));
    up.child.kill(signal);
    await until(
      () => up.err().includes("Stopping. Once more"),
      () => "the first signal is taken",
    );
    const startedAt = performance.now();
    // A person takes longer than a quarter of a second to press again; sooner counts as the same signal.
    await until(
      () => up.child.kill(signal) && up.err().includes("Stopping at once."),
      () => up.err(),
    );
    expect(await up.ended).toEqual({ code: 1, signal: null });
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(await processesOf(dataDir)).toEqual([]);
  },
);

test.skipIf(process.platform !== "linux")("a closed terminal stops an instance in order", async () => {
  // Python's standard library has terminals: the instance runs in one that is closed when it is ready.
  const dataDir = join(folder, "twice");
  const terminal = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
text = b""
while b"credentialsFile" not in text:
    text += os.read(terminal, 4096)
os.close(terminal)
status = os.waitpid(pid, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status))`;
  const command = [process.execPath, main, "up", "--json", "--data-dir", dataDir];
  const up = start(["-c", terminal, ...command], "python3");
  expect(await up.ended).toEqual({ code: 0, signal: null });
  expect(await processesOf(dataDir)).toEqual([]);
});

test.skipIf(process.platform !== "linux")(
  "SIGHUP makes an instance without a terminal read its levels again; a faulty file changes nothing",
  async () => {
    const config = join(folder, "ectus.env");
    await writeFile(config, "LOG_LEVEL=warn\n");
    const args = [main, "up", "--json", "--data-dir", join(folder, "twice")];
    const up = start(args, process.execPath, { ECTUS_CONFIG: config });
    await ready(up);
    const said = (text: string) => until(() => up.err().includes(text), up.err);
    await writeFile(config, "LOG_LEVEL=debug,database=error\n");
    up.child.kill("SIGHUP");
    await said('"levels":"debug,database=error"');
    await writeFile(config, "LOG_LEVEL=loud\n");
    up.child.kill("SIGHUP");
    await said("nothing was changed");
    up.child.kill("SIGTERM");
    expect(await up.ended).toEqual({ code: 0, signal: null });
    expect(up.err().match(/"module":"logging"/g)).toHaveLength(1);
  },
);

test("a command that another started for a request has the same ids on its lines", async () => {
  const requestId = `req_${"0123456789abcdef".repeat(2)}`;
  const environment = await runInContext({ correlationId: "order-17", requestId }, async () =>
    contextEnvironment(),
  );
  const args = [main, "up", "--json", "--offline", "--data-dir", join(folder, "unreachable")];
  const up = start(args, process.execPath, {
    ...environment,
    DATABASE_URL: "postgres://app:x@127.0.0.1:1/ectus",
    LOG_LEVEL: "debug",
  });
  expect((await up.ended).code).toBe(1);
  const lines = up
    .err()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) expect(line).toMatchObject({ correlationId: "order-17", requestId });
});

test.skipIf(process.platform !== "linux")(
  "an exception that nobody catches leaves no PostgreSQL behind",
  async () => {
    const dataDir = join(folder, "twice");
    const thrower = "data:text/javascript,process.on('SIGUSR2',()=>{throw new Error('boom')})";
    const up = start(["--import", thrower, main, "up", "--json", "--data-dir", dataDir]);
    await ready(up);
    up.child.kill("SIGUSR2");
    expect((await up.ended).code).toBe(1);
    const told = up
      .err()
      .split("\n")
      .filter((line) => line.includes("boom"));
    expect(told.map((line) => JSON.parse(line))).toMatchObject([
      { level: "fatal", err: { message: "boom" } },
    ]);
    await until(
      async () => (await processesOf(dataDir)).length === 0,
      () => "PostgreSQL has ended",
    );
  },
);

test.skipIf(process.platform !== "linux")(
  "signals while PostgreSQL is being made leave nothing running, and the next start works",
  async () => {
    const dataDir = join(folder, "initdb");
    const up = ectus("up", "--json", "--data-dir", dataDir);
    const names = () => readdir(join(dataDir, "postgres")).catch((): string[] => []);
    await until(
      async () => (await names()).some((name) => name.startsWith("unfinished-")),
      () => up.err(),
    );
    up.child.kill("SIGINT");
    expect(await up.ended).toEqual({ code: 0, signal: null });
    await until(
      async () => (await processesOf(dataDir)).length === 0,
      () => "initdb has ended",
    );
    const again = ectus("up", "--json", "--data-dir", dataDir);
    await ready(again);
    again.child.kill("SIGTERM");
    expect(await again.ended).toEqual({ code: 0, signal: null });
  },
);
