import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkStorage } from "./storage.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-storage-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("what it wrote is removed again", async () => {
  expect((await checkStorage(pathToFileURL(folder).href)).status).toBe("ok");
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  expect(names.filter((entry) => entry.isFile())).toEqual([]);
});

test("a storage that cannot be written to fails with its reason", async () => {
  await writeFile(join(folder, "file"), "");
  const check = await checkStorage(pathToFileURL(join(folder, "file")).href);
  expect(check).toMatchObject({ status: "fail", fix: expect.stringContaining("STORAGE_URL") });
});
