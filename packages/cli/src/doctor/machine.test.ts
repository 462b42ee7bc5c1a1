import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { worst } from "./check.ts";
import { checkDataDir, checkNode, judgeSpace } from "./machine.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-machine-"));
});
afterEach(async () => {
  await chmod(folder, 0o700);
  await rm(folder, { recursive: true });
});

test("an old Node.js fails and says how to get the right one", () => {
  expect(checkNode("26.0.0").status).toBe("ok");
  expect(checkNode("20.11.1")).toMatchObject({ status: "fail", fix: expect.stringContaining("npm start") });
});

describe("the data folder", () => {
  test("that can be written to is usable", async () => {
    const { usable, checks } = await checkDataDir(folder);
    expect(usable).toBe(true);
    expect(worst(checks)).toBe("ok");
    expect(await readdir(folder)).toEqual([]);
  });

  test("that is not there yet is made by the first start, and not by this", async () => {
    const { usable, checks } = await checkDataDir(join(folder, "a", "b"));
    expect(usable).toBe(false);
    expect(checks[0]).toMatchObject({ status: "ok", detail: expect.stringContaining("is not there yet") });
    expect(await readdir(folder)).toEqual([]);
  });

  test("that is a file fails", async () => {
    await writeFile(join(folder, "file"), "");
    const { usable, checks } = await checkDataDir(join(folder, "file"));
    expect(usable).toBe(false);
    expect(checks[0]).toMatchObject({ status: "fail", fix: expect.stringContaining("--data-dir") });
  });

  test("of another user is not written to, so that nothing in it becomes this user's", async () => {
    await mkdir(join(folder, "theirs"));
    const { usable, checks } = await checkDataDir(join(folder, "theirs"), 12_345);
    expect(usable).toBe(false);
    expect(checks[0]).toMatchObject({ status: "warn", fix: expect.stringMatching(/^Run this as user \d+/) });
  });

  test.skipIf(process.getuid?.() === 0)("that is closed fails", async () => {
    await chmod(folder, 0o500);
    expect((await checkDataDir(folder)).checks[0]).toMatchObject({ status: "fail" });
  });
});

test("little room is a warning, hardly any a failure", () => {
  expect(judgeSpace("/", 10 * 2 ** 30).status).toBe("ok");
  expect(judgeSpace("/", 2 ** 30)).toMatchObject({ status: "warn", detail: "1.0 GiB are free at /" });
  expect(judgeSpace("/", 2 ** 20).status).toBe("fail");
});
