import { expect, test } from "vitest";
import { runCommand } from "./command.ts";

const node = (script: string, timeoutMs = 20_000) =>
  runCommand(process.execPath, ["-e", script], { timeoutMs });

test("what a program prints is returned, standard error included", async () => {
  expect(await node("process.stdout.write('out'); process.stderr.write('err')")).toMatch(/^(outerr|errout)$/);
});

test("a failure shows the status and the last lines", async () => {
  await expect(node("console.log('first cause'); process.exit(3)")).rejects.toThrow(
    /ended with 3:\n {2}first cause$/,
  );
});

test("a program that is not there is named", async () => {
  await expect(runCommand("no-such-program-here", [], { timeoutMs: 1_000 })).rejects.toThrow(
    /^no-such-program-here cannot be started/,
  );
});

test("a program that takes too long is ended", async () => {
  await expect(node("setInterval(() => {}, 1000)", 300)).rejects.toThrow("having taken 300 ms or more");
});

test("only the end of a long output is kept", async () => {
  const output = await node("process.stdout.write('x'.repeat(200_000) + 'end')");
  expect(output.length).toBe(64 * 1024);
  expect(output.endsWith("end")).toBe(true);
});
