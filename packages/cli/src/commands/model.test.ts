import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtInModel, listModels } from "@ectus/ai-engine";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { runProgram } from "../program.ts";
import { recordContext, runRecorded } from "../recorded-context.ts";

let folder: string;
const here = (await listModels(join(tmpdir(), "ectus-no-models")))[0]?.path;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-model-"));
  vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const run = (...args: string[]) => runRecorded({ DATA_DIR: folder }, "model", ...args);

test("list tells what is not here", async () => {
  const { code, out } = await run("list");
  expect(code).toBe(0);
  expect(out).toMatch(new RegExp(`^ID .*\\n${builtInModel} +not here +98 MB +Apache-2.0 +-\\n$`));
  expect(JSON.parse((await run("list", "--json")).out)).toEqual({
    object: "list",
    data: [expect.objectContaining({ id: builtInModel, object: "model", path: null, state: "missing" })],
    has_more: false,
  });
});

test("list tells a damaged file from one that is missing", async () => {
  const file = JSON.parse((await run("list", "--json")).out).data[0].file;
  await mkdir(join(folder, "models"));
  await writeFile(join(folder, "models", file), "half of it");
  expect((await run("list")).out).toContain("damaged");
});

test("pull --offline fails where the model is not on this machine", async () => {
  const { code, out, err } = await run("pull", "--offline", "--json");
  expect(code).toBe(1);
  expect(err).toContain("it is not on this machine");
  expect(JSON.parse(out).error.code).toBe("model_unavailable");
});

test("an unknown model is used wrongly, and those that there are are named", async () => {
  const { code, err } = await run("pull", "gpt-9");
  expect(code).toBe(2);
  expect(err).toContain(`unknown model 'gpt-9'. Accepts ${builtInModel}.`);
});

describe.skipIf(here === undefined && process.env.CI !== "true")("with the model in the cache", () => {
  test("pull takes it from there", async () => {
    const cache = join(folder, "cache", "ectus", "peers", "model-1");
    await mkdir(cache, { recursive: true });
    await copyFile(here as string, join(cache, (here as string).split("/").at(-1) as string));
    const { code, out } = await run("pull", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ object: "model", id: builtInModel });
    expect(JSON.parse(out).path.startsWith(join(folder, "models"))).toBe(true);
    expect((await run("pull")).out).toContain(`The model ${builtInModel} is at ${join(folder, "models")}`);
    expect((await run("list")).out).toMatch(/ here /);
  });
});

test("Ctrl-C ends a pull that waits for another process, and leaves that one's lock", async () => {
  const file = JSON.parse((await run("list", "--json")).out).data[0].file;
  await mkdir(join(folder, "models"));
  await writeFile(join(folder, "models", `${file}.lock`), "");
  const { context, signal, printed, err } = recordContext({ DATA_DIR: folder, LOG_LEVEL: "info" });
  const running = runProgram(["model", "pull"], context);
  await printed("another process is getting this model");
  signal();
  expect(await running).toBe(1);
  expect(err()).toContain("stopped by a signal");
  expect(await readdir(join(folder, "models"))).toEqual([`${file}.lock`]);
});
