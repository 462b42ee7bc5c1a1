// The way out of the process, seen from outside: real programs with real pipes and files as their standard output.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, truncate } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";

const logging = JSON.stringify(import.meta.resolve("./logging.ts"));
let folder: string;
const running: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-sink-"));
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
});

/** Runs a program with `log` and `logging` in it. What it tells goes to standard error. */
function run(script: string, stdout: "pipe" | number = "pipe") {
  const program = `
    import { existsSync, writeSync } from "node:fs";
    import { createLogging } from ${logging};
    const logging = createLogging({ levels: { default: "info", modules: {} }, format: "json" });
    const log = logging.module("cli");
    const tell = (text) => writeSync(2, text + "\\n");
    ${script}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", stdout, "pipe"],
  });
  running.push(child);
  if (typeof stdout === "number") closeSync(stdout);
  let told = "";
  const listeners = new Set<() => void>();
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    told += text;
    for (const look of listeners) look();
  });
  return {
    child,
    told: () => told,
    ended: once(child, "close").then(([code, signal]) => ({ code, signal })),
    until: (text: string) =>
      new Promise<void>((resolve) => {
        const look = (): void => {
          if (!told.includes(text)) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        look();
      }),
  };
}

let pipes = 0;

/** A pipe of the system: what Node.js calls one between its processes is a socket. */
function openPipe() {
  pipes += 1;
  const path = join(folder, `pipe-${pipes}`);
  execFileSync("mkfifo", [path]);
  const read = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { read: () => new Socket({ fd: read }), write: () => openSync(path, constants.O_WRONLY) };
}

/** Runs a program whose standard output is one or the other. */
function runTo(kind: "pipe" | "socket", script: string) {
  if (kind === "socket") {
    const program = run(script);
    return { ...program, output: () => program.child.stdout as Socket };
  }
  const { read, write } = openPipe();
  return { ...run(script, write()), output: read };
}

async function readAll(output: Socket): Promise<Record<string, unknown>[]> {
  let text = "";
  for await (const part of output.setEncoding("utf8")) text += part;
  return toLines(text);
}

const toLines = (text: string): Record<string, unknown>[] =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

const numbers = (lines: readonly Record<string, unknown>[]) => lines.map(({ number }) => number);
const upTo = (count: number) => Array.from({ length: count }, (_, number) => number);
const logMany = (count: number) =>
  `for (let number = 0; number < ${count}; number += 1) log.info({ number, fill: "x".repeat(200) });`;

const ends = [
  ["returns", "", 0],
  ["calls process.exit", "process.exit(3);", 3],
  ["throws", 'throw new Error("boom");', 1],
  ["rejects", 'Promise.reject(new Error("boom"));', 1],
] as const;
const kinds = ["pipe", "socket"] as const;

test.each(kinds.flatMap((kind) => ends.map((end) => [kind, ...end] as const)))(
  "into a %s, a program that %s leaves no line behind, in order",
  async (kind, _, end, code) => {
    const { output, ended } = runTo(kind, `${logMany(5_000)} ${end}`);
    expect(numbers(await readAll(output()))).toEqual(upTo(5_000));
    expect(await ended).toEqual({ code, signal: null });
  },
);

test("lines to a file are all there, too", async () => {
  for (const end of ["", "process.exit(0);", "await logging.flush(); process.exit(0);"]) {
    const file = join(folder, `file-${end.length}`);
    const { ended } = run(`${logMany(5_000)} ${end}`, openSync(file, "w"));
    expect((await ended).code).toBe(0);
    const lines = toLines(await readFile(file, "utf8"));
    expect(numbers(lines).toSorted((a, b) => Number(a) - Number(b))).toEqual(upTo(5_000));
  }
});

test.each(kinds)(
  "a reader of a %s that stops holds nothing up; what it missed is bounded, counted, and told when it reads again",
  async (kind) => {
    const { output, ended, until, told } = runTo(
      kind,
      `
    let late = 0, lastAt = performance.now();
    const watch = setInterval(() => {
      const now = performance.now();
      late = Math.max(late, now - lastAt - 5);
      lastAt = now;
    }, 5);
    let number = 0;
    // Three bytes each.
    const fill = "\u6f22".repeat(333);
    while (logging.counts.dropped < 1_000) {
      for (let count = 0; count < 100; count += 1) log.info({ number: number++, fill });
      await new Promise(setImmediate);
    }
    tell("full " + JSON.stringify({ late, ...logging.counts, rss: process.memoryUsage().external }));
    const { info } = logging.counts.lines;
    while (logging.counts.lines.warn === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    log.info({ number: "last" });
    await logging.flush();
    tell("done " + JSON.stringify({ info }));
    clearInterval(watch);`,
    );
    await until("full ");
    const { late, dropped } = JSON.parse(told().slice(5));
    expect(dropped).toBeGreaterThanOrEqual(1_000);
    expect(late).toBeLessThan(500);
    const lines = await readAll(output());
    expect(await ended).toEqual({ code: 0, signal: null });
    const { info } = JSON.parse(told().split("done ")[1] as string);
    const lost = lines.find(({ module }) => module === "logging");
    expect(lost).toMatchObject({ level: "warn", lines: dropped });
    const seen = numbers(lines.filter(({ module }) => module === "cli"));
    expect(seen).toEqual([...upTo(info), "last"]);
    expect(info * 1_000).toBeLessThan(8.5 * 1_024 * 1_024);
  },
);

test.each(kinds)(
  "a reader of a %s that never reads holds up neither flush nor exit for long",
  async (kind) => {
    const { ended, until } = runTo(
      kind,
      `
    ${logMany(5_000)}
    const failed = await logging.flush().catch((error) => error);
    tell("flush: " + failed.message);
    process.exit(0);`,
    );
    await until("flush: the log could not be written within 2000 ms");
    const startedAt = performance.now();
    expect(await Promise.race([ended, once(running[0] as ChildProcess, "exit").then(() => "exited")])).toBe(
      "exited",
    );
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  },
);

test.each(kinds)(
  "a reader of a %s that is gone ends nothing, and lines cost nothing any more",
  async (kind) => {
    const { output, ended, told } = runTo(
      kind,
      `
    log.info("one");
    await logging.flush();
    while (logging.counts.dropped === 0) {
      log.info("more");
      await logging.flush().catch(() => {});
    }
    await logging.flush().catch((error) => tell("flush: " + error.message));
    ${logMany(1_000)}
    const { user } = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 300));
    tell(JSON.stringify({ dropped: logging.counts.dropped, cpuMs: (process.cpuUsage().user - user) / 1_000 }));`,
    );
    const reader = output();
    reader.once("data", () => reader.destroy());
    expect(await ended).toEqual({ code: 0, signal: null });
    const { dropped, cpuMs } = JSON.parse(told().trim().split("\n").at(-1) as string);
    expect(told()).toContain("flush: nobody reads the log any more");
    expect(dropped).toBeGreaterThanOrEqual(1_000);
    expect(cpuMs).toBeLessThan(150);
  },
);

test("a program that shares the pipe may let it wait again: lines are written without", async () => {
  const shared = openPipe().write();
  // Node.js restores at its end what it has found at its start.
  const first = spawn(process.execPath, ["-e", "process.stdin.resume(); process.stdout.write('\\n')"], {
    stdio: ["pipe", shared, "ignore"],
  });
  running.push(first);
  await vi.waitFor(
    async () => expect(await readFile(`/proc/${first.pid}/wchan`, "utf8")).toMatch(/poll/),
    10_000,
  );
  const { until } = run(
    `
    log.info("begins");
    await logging.flush();
    tell("begun");
    const wait = setInterval(() => {
      if (!existsSync("/proc/${first.pid}/fd/1")) {
        clearInterval(wait);
        while (logging.counts.dropped === 0) log.info({ fill: "x".repeat(1_000) });
        tell("went on");
      }
    }, 5);`,
    shared,
  );
  await until("begun");
  first.stdin?.end();
  await until("went on");
});

test("a disk that is full is tried again; nothing is lost, doubled or out of order", async () => {
  const file = join(folder, "full");
  const { child, ended, until, told } = run(
    `
    const full = "\u00e9\u6f22\ud83d\ude00".repeat(50);
    let number = 0;
    const busy = setInterval(() => {
      for (let count = 0; count < 50; count += 1) log.info({ number: number++, full });
    }, 5);
    tell("runs");
    process.once("SIGUSR2", async () => {
      clearInterval(busy);
      await logging.flush();
      tell("wrote " + number);
      process.exit(0);
    });`,
    openSync(file, "a"),
  );
  await until("runs");
  const limit = 300_001;
  execFileSync("prlimit", [`--pid=${child.pid}`, `--fsize=${limit}:`]);
  await vi.waitFor(async () => expect((await stat(file)).size).toBe(limit), 10_000);
  execFileSync("prlimit", [`--pid=${child.pid}`, "--fsize=unlimited:"]);
  await vi.waitFor(async () => expect((await stat(file)).size).toBeGreaterThan(limit), 10_000);
  child.kill("SIGUSR2");
  expect((await ended).code).toBe(0);
  const count = Number(told().split("wrote ")[1]);
  expect(numbers(toLines(await readFile(file, "utf8")))).toEqual(upTo(count));
});

test("a file that is copied and truncated goes on from its new beginning", async () => {
  const file = join(folder, "truncated");
  const { child, ended, until } = run(
    `
    ${logMany(100)}
    await logging.flush();
    tell("first");
    const wait = setInterval(() => {}, 1_000);
    process.once("SIGUSR2", () => {
      clearInterval(wait);
      log.info({ number: "second" });
    });`,
    openSync(file, "a"),
  );
  await until("first");
  expect(toLines(await readFile(file, "utf8"))).toHaveLength(100);
  await truncate(file);
  child.kill("SIGUSR2");
  await ended;
  expect(numbers(toLines(await readFile(file, "utf8")))).toEqual(["second"]);
});

test("a log that nobody reads keeps no program running", async () => {
  const { ended } = runTo("pipe", `${logMany(5_000)} setTimeout(() => {}, 300);`);
  const startedAt = performance.now();
  expect(await ended).toEqual({ code: 0, signal: null });
  expect(performance.now() - startedAt).toBeLessThan(10_000);
});
