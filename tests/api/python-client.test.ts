// The official Python client, where the python3 on PATH has it (`pip install openai`, for instance in a virtual
// environment). It is one client more, not the one that the platform is measured by: without it this is skipped.
import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startApi } from "./start-api.ts";

const script = new URL("python-client.py", import.meta.url).pathname;

function hasClient(): boolean {
  try {
    execFileSync("python3", ["-c", "import openai"], { stdio: "ignore", timeout: 20_000 });
    return true;
  } catch {
    return false;
  }
}

test("the official Python client runs the whole surface", async (context) => {
  if (!hasClient())
    context.skip("NOT TESTED: Python's openai client. It takes a python3 on PATH with `pip install openai`.");
  await using api = await startApi();
  const { key } = await api.makeTenant();
  const env = {
    PATH: process.env.PATH,
    URL: api.url,
    KEY: key,
    PYTHONIOENCODING: "utf8",
    NO_PROXY: "127.0.0.1",
  };
  const { stdout } = await promisify(execFile)("python3", [script], { env, timeout: 25_000 });
  expect(stdout).toContain("everything works");
});
