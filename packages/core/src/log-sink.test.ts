// The way out of the process, seen from outside: real programs with real pipes and files as their standard output.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

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
    import { writeSync } from "node:fs";
    import { createLogging } from ${logging};
    const logging = createLogging({ levels: { default: "info", modules: {} }, format: "json" });
    const log = logging.module("cli");
    const tell = (text) => writeSync(2, text + "\\n");
    ${script}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", stdout, "pipe"],
  });
  running.push(child);
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

async function readAll({ stdout }: ChildProcess): Promise<Record<string, unknown>[]> {
  let text = "";
  for await (const part of stdout?.setEncoding("utf8") ?? []) text += part;
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

test.each([
  ["returns", "", 0],
  ["calls process.exit", "process.exit(3);", 3],
  ["throws", 'throw new Error("boom");', 1],
  ["rejects", 'Promise.reject(new Error("boom"));', 1],
])("a program that %s leaves no line behind, in order", async (_, end, code) => {
  const { child, ended } = run(`${logMany(5_000)} ${end}`);
  expect(numbers(await readAll(child))).toEqual(upTo(5_000));
  expect(await ended).toEqual({ code, signal: null });
});

test("lines to a file are all there, too", async () => {
  for (const end of ["", "process.exit(0);", "await logging.flush(); process.exit(0);"]) {
    const file = join(folder, `file-${end.length}`);
    const { ended } = run(`${logMany(5_000)} ${end}`, openSync(file, "w"));
    expect((await ended).code).toBe(0);
    const lines = toLines(await readFile(file, "utf8"));
    expect(numbers(lines).toSorted((a, b) => Number(a) - Number(b))).toEqual(upTo(5_000));
  }
});

test("a reader that stops holds nothing up; what it missed is bounded, counted, and told when it reads again", async () => {
  const { child, ended, until, told } = run(`
    let late = 0, lastAt = performance.now();
    const watch = setInterval(() => {
      const now = performance.now();
      late = Math.max(late, now - lastAt - 5);
      lastAt = now;
    }, 5);
    let number = 0;
    const fill = "x".repeat(1_000);
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
    clearInterval(watch);`);
  await until("full ");
  const { late, dropped } = JSON.parse(told().slice(5));
  expect(dropped).toBeGreaterThanOrEqual(1_000);
  expect(late).toBeLessThan(500);
  const lines = await readAll(child);
  expect(await ended).toEqual({ code: 0, signal: null });
  const { info } = JSON.parse(told().split("done ")[1] as string);
  const lost = lines.find(({ module }) => module === "logging");
  expect(lost).toMatchObject({ level: "warn", lines: dropped });
  const seen = numbers(lines.filter(({ module }) => module === "cli"));
  expect(seen).toEqual([...upTo(info), "last"]);
  expect(info * 1_000).toBeLessThan(8.5 * 1_024 * 1_024);
});

test("a reader that never reads holds up neither flush nor exit for long", async () => {
  const { ended, until } = run(`
    ${logMany(5_000)}
    const failed = await logging.flush().catch((error) => error);
    tell("flush: " + failed.message);
    process.exit(0);`);
  await until("flush: the log could not be written within 2000 ms");
  const startedAt = performance.now();
  expect(await Promise.race([ended, once(running[0] as ChildProcess, "exit").then(() => "exited")])).toBe(
    "exited",
  );
  expect(performance.now() - startedAt).toBeLessThan(3_000);
});

test("a reader that is gone ends nothing, and lines cost nothing any more", async () => {
  const { child, ended, told } = run(`
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
    tell(JSON.stringify({ dropped: logging.counts.dropped, cpuMs: (process.cpuUsage().user - user) / 1_000 }));`);
  child.stdout?.once("data", () => child.stdout?.destroy());
  expect(await ended).toEqual({ code: 0, signal: null });
  const { dropped, cpuMs } = JSON.parse(told().trim().split("\n").at(-1) as string);
  expect(told()).toContain("flush: nobody reads the log any more");
  expect(dropped).toBeGreaterThanOrEqual(1_000);
  expect(cpuMs).toBeLessThan(150);
});
