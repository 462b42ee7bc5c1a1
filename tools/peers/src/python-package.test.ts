import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test as testAnywhere } from "vitest";
import { inspectPythonPackage } from "./python-package.ts";

const test = testAnywhere.skipIf(process.env.CI !== "true" && !hasPython());
const inspect = inspectPythonPackage({ name: "gizmo", version: "3.54.0" });
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-python-package-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function hasPython(): boolean {
  try {
    execFileSync("python3", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function install(source: string): Promise<void> {
  await mkdir(join(folder, "gizmo"));
  await writeFile(join(folder, "gizmo", "__init__.py"), source);
}

test("a package of the wanted version that Python can import is accepted", async () => {
  await install('__version__ = "3.54.0"');
  expect(await inspect(folder)).toEqual({ ok: true, version: "3.54.0" });
});

test("a version may be called VERSION, as that of bagit is", async () => {
  await install("VERSION = '3.54.0'");
  expect(await inspect(folder)).toMatchObject({ ok: true });
});

test("one of another version is refused", async () => {
  await install('__version__ = "1.0.0"');
  expect(await inspect(folder)).toMatchObject({ ok: false, reason: expect.stringContaining("1.0.0") });
});

test("one whose compiled parts are not for this Python is refused with what Python said", async () => {
  await install("import no_such_compiled_part");
  expect(await inspect(folder)).toMatchObject({
    ok: false,
    reason: expect.stringContaining("no_such_compiled_part"),
  });
});

test("a folder without it is refused, whatever else this Python has", async () => {
  expect(await inspect(folder)).toMatchObject({ ok: false });
});
