import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inspectPrograms, parseVersion } from "./programs.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-programs-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function program(name: string, script: string): Promise<void> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}

const inspect = inspectPrograms({
  names: ["psql", "pg_dump"],
  accepts: (version) => version.startsWith("18."),
});

test.each([
  ["psql (PostgreSQL) 18.6", "18.6"],
  ["postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"],
  ["prometheus, version 3.16.0 (branch: HEAD)", "3.16.0"],
  ["v1.7.12\ninstalled by building from source", "1.7.12"],
  ["no number here, 18 is not one", undefined],
])("the version in %j is %s", (text, version) => {
  expect(parseVersion(text)).toBe(version);
});

test("a folder is accepted when every program reports an accepted version", async () => {
  await program("psql", "echo 'psql (PostgreSQL) 18.6'");
  await program("pg_dump", "echo 'pg_dump (PostgreSQL) 18.5'");
  expect(await inspect(folder)).toEqual({ ok: true, version: "18.6" });
});

test("one program of another version spoils the folder", async () => {
  await program("psql", "echo 'psql (PostgreSQL) 18.6'");
  await program("pg_dump", "echo 'pg_dump (PostgreSQL) 15.2'");
  expect(await inspect(folder)).toEqual({ ok: false, reason: `${folder} has version 15.2` });
});

test("a missing program and one without its executable bit are named", async () => {
  await program("psql", "echo 'psql (PostgreSQL) 18.6'");
  expect(await inspect(folder)).toMatchObject({ ok: false, reason: expect.stringContaining("pg_dump") });
  await writeFile(join(folder, "pg_dump"), "");
  expect(await inspect(folder)).toMatchObject({ ok: false, reason: expect.stringContaining("pg_dump") });
});

test("a program that fails is refused with what it printed", async () => {
  await program("psql", "echo 'libpq.so.5: cannot open shared object file' >&2; exit 127");
  await program("pg_dump", "echo 'pg_dump (PostgreSQL) 18.6'");
  expect(await inspect(folder)).toMatchObject({
    ok: false,
    reason: expect.stringContaining("libpq.so.5: cannot open shared object file"),
  });
});
