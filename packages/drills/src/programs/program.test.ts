import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { type Program, startProgram, stopAll } from "./program.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-program-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

// A shell script that makes a file once it is ready.
function shell(script: string, more: { timeoutMs?: number; ready?: () => Promise<boolean> } = {}) {
  const mark = join(folder, "ready");
  return startProgram({
    name: "the script",
    path: "/bin/sh",
    args: ["-c", script],
    env: { MARK: mark },
    cwd: folder,
    ready: async () => existsSync(mark),
    timeoutMs: 20_000,
    ...more,
  });
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("a program is given back once it is ready, and stopping it ends it", async () => {
  const program = await shell('echo "in $PWD"; echo complaint >&2; : > "$MARK"; exec sleep 600');
  expect(isAlive(program.pid)).toBe(true);
  await until(() => program.log().includes("complaint"));
  expect(program.log()).toContain(`in ${folder}`);
  await program.stop();
  expect(isAlive(program.pid)).toBe(false);
  expect(await program.exited).toBe(null);
  await program.stop();
});

test("one that ends before it is ready is told with its status and what it printed", async () => {
  await expect(shell("echo 'address already in use'; exit 3")).rejects.toMatchObject({
    code: "program_failed",
    message: "the script ended with 3. It printed at the end:\n  address already in use",
  });
});

test("one that cannot be started is told", async () => {
  const starting = startProgram({
    name: "nothing",
    path: join(folder, "nothing"),
    args: [],
    ready: async () => false,
    timeoutMs: 20_000,
  });
  await expect(starting).rejects.toMatchObject({
    code: "program_failed",
    message: expect.stringMatching(/nothing ended with [\s\S]*(ENOENT|No such file)/),
  });
});

test("one that is not ready in time is ended, and why it was not ready is told", async () => {
  const ready = async () => {
    await writeFile(join(folder, "asked"), "");
    throw new Error("it said 503");
  };
  const starting = shell('echo $$ > "$PWD/pid"; exec sleep 600', { timeoutMs: 500, ready });
  await expect(starting).rejects.toThrow(
    "the script was not ready in 500 ms; the last answer was: it said 503",
  );
  expect(isAlive(Number(await readFile(join(folder, "pid"), "utf8")))).toBe(false);
});

test("a question that is never answered does not outlast the time limit", async () => {
  const starting = shell("exec sleep 600", { timeoutMs: 500, ready: () => new Promise(() => {}) });
  await expect(starting).rejects.toThrow("not ready in 500 ms");
});

test("one that is suspended is ended", async () => {
  const program = await shell(`trap 'echo goodbye; exit 0' TERM; : > "$MARK"; while :; do sleep 0.1; done`);
  process.kill(program.pid, "SIGSTOP");
  await program.stop();
  expect(program.log()).toBe("goodbye\n");
});

test("one that does not mind SIGTERM is killed, with what it started", async () => {
  const program = await shell(`trap '' TERM; sleep 600 & echo $! > child; : > "$MARK"; wait`);
  const child = Number(await readFile(join(folder, "child"), "utf8"));
  await program.stop();
  expect(isAlive(program.pid)).toBe(false);
  await until(() => !isAlive(child));
});

test("programs are stopped in reverse order, all of them even if one fails", async () => {
  const stopped: string[] = [];
  const program = (name: string): Pick<Program, "stop"> => ({
    async stop() {
      stopped.push(name);
      if (name === "second") throw new Error("second fails");
    },
  });
  await expect(stopAll(["first", "second", "third"].map(program))).rejects.toThrow("second fails");
  expect(stopped).toEqual(["third", "second", "first"]);
});

test.skipIf(process.platform !== "linux" || !existsSync("/usr/bin/setpriv"))(
  "a program does not outlive a process that is killed",
  async () => {
    const main = join(folder, "main.ts");
    await writeFile(
      main,
      `import { writeFileSync } from "node:fs";
import { startProgram } from ${JSON.stringify(join(import.meta.dirname, "program.ts"))};
const program = await startProgram({ name: "sleep", path: "/bin/sleep", args: ["600"], ready: async () => true, timeoutMs: 20000 });
writeFileSync(${JSON.stringify(join(folder, "pid"))}, String(program.pid));
writeFileSync(process.env.MARK, "");
await program.exited;
`,
    );
    const parent = await startProgram({
      name: "node",
      path: process.execPath,
      args: [main],
      env: { MARK: join(folder, "ready") },
      ready: async () => existsSync(join(folder, "ready")),
      timeoutMs: 20_000,
    });
    const child = Number(await readFile(join(folder, "pid"), "utf8"));
    expect(isAlive(child)).toBe(true);
    process.kill(parent.pid, "SIGKILL");
    await until(() => !isAlive(child));
    await parent.stop();
  },
);
