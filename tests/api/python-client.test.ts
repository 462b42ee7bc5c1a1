// The official Python client over the whole surface, in a process of its own.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import { expect, test } from "vitest";
import { startApi } from "./start-api.ts";

const script = new URL("python-client.py", import.meta.url).pathname;
const client = await peer("openai-python");

test.skipIf(!client)("the official Python client runs the whole surface", async () => {
  await using api = await startApi();
  const { key } = await api.makeTenant();
  const env = {
    PATH: process.env.PATH,
    PYTHONPATH: client?.folder,
    URL: api.url,
    KEY: key,
    PYTHONIOENCODING: "utf8",
    NO_PROXY: "127.0.0.1",
  };
  const { stdout } = await promisify(execFile)("python3", [script], { env, timeout: 25_000 });
  expect(stdout).toContain(`everything works with openai ${client?.version}`);
});
