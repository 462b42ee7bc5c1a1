import { mkdtemp, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createFaultLog } from "./fault-log.ts";
import { reloadedFiles } from "./reloaded-files.ts";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-reloaded-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  file = join(folder, "file");
  await writeFile(file, "one");
});

function open(paths = [file]) {
  const { log, lines } = recordingLog();
  const parse = (texts: readonly string[]) => {
    if (texts.includes("secret nonsense")) throw new Error("nonsense");
    return { texts };
  };
  return { current: reloadedFiles({ paths, parse, faults: createFaultLog(log) }), lines };
}

test("the value is made anew when a file changes, and only then", async () => {
  const { current, lines } = open();
  const first = current();
  expect(current()).toBe(first);
  await writeFile(file, "two");
  expect(current()).toEqual({ texts: ["two"] });
  expect(lines).toEqual([]);
});

test("what cannot be used or read keeps the last good value, told once, and once that it is over", async () => {
  const { current, lines } = open();
  await writeFile(file, "secret nonsense");
  for (let time = 0; time < 3; time++) expect(current()).toEqual({ texts: ["one"] });
  await rename(file, `${file}.away`);
  for (let time = 0; time < 3; time++) expect(current()).toEqual({ texts: ["one"] });
  expect(lines).toMatchObject([{ level: "warn", files: [file], reason: "nonsense" }]);
  expect(JSON.stringify(lines)).not.toContain("secret");
  await writeFile(file, "two");
  expect(current()).toEqual({ texts: ["two"] });
  expect(lines.slice(1)).toMatchObject([{ level: "info", msg: "changed files are in use" }]);
});

test("a file that went and came back as it was is in use again", async () => {
  const { current, lines } = open();
  await rename(file, `${file}.away`);
  expect(current()).toEqual({ texts: ["one"] });
  await rename(`${file}.away`, file);
  expect(current()).toEqual({ texts: ["one"] });
  expect(lines.map(({ level }) => level)).toEqual(["warn", "info"]);
});

test("a mounted secret, whose folder is exchanged behind a link, is seen", async () => {
  const data = join(folder, "..data");
  for (const version of ["1", "2"]) {
    const target = await mkdtemp(join(folder, "v"));
    await writeFile(join(target, "token"), version);
    await symlink(target, `${data}.${version}`);
  }
  await symlink(await readlink(`${data}.1`), data);
  await symlink("..data/token", join(folder, "token"));
  const { current } = open([join(folder, "token")]);
  expect(current()).toEqual({ texts: ["1"] });
  await rename(`${data}.2`, data);
  expect(current()).toEqual({ texts: ["2"] });
});

test("files that are wrong from the start are no value", () => {
  expect(() => open([join(folder, "none")])).toThrow("ENOENT");
});
