// Code that was written for the official client compiles, and does the same, when only its import is changed.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { useAll } from "./testing/official-usage.ts";

const root = join(import.meta.dirname, "..", "..", "..");
const usage = join(import.meta.dirname, "testing", "official-usage.ts");
const importOfTheirs = 'from "@prometheus-io/client"';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(root, "node_modules", ".official-types-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("the same code compiles with the import changed, and gives the same values", async () => {
  const code = await readFile(usage, "utf8");
  expect(code).toContain(importOfTheirs);
  await writeFile(join(folder, "usage.ts"), code.replace(importOfTheirs, 'from "@ectus/metrics"'));
  await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: join(root, "tsconfig.json"), include: ["usage.ts"], exclude: [] }),
  );
  // An error that is expected by a comment and does not occur is one, too.
  const compiled = await promisify(execFile)(
    join(root, "node_modules", ".bin", "tsc"),
    ["--pretty", "false", "-p", folder],
    { cwd: root },
  ).catch((error: { stdout: string }) => error);
  expect(compiled.stdout).toBe("");

  const changed: { useAll: typeof useAll } = await import(join(folder, "usage.ts"));
  expect(await changed.useAll()).toEqual(await useAll());
});
