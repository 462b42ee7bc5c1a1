import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadInstanceSecrets, readInstanceSecrets, writePrivateFile } from "./instance-secrets.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-secrets-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("secrets are made once, for their owner only, and then read", async () => {
  expect(await readInstanceSecrets(folder)).toBeUndefined();
  const made = await loadInstanceSecrets(folder);
  expect(new Set(Object.values(made)).size).toBe(3);
  for (const secret of Object.values(made)) expect(secret).toMatch(/^[\w-]{43}$/);
  expect(await loadInstanceSecrets(folder)).toEqual(made);
  expect((await stat(join(folder, "secrets.json"))).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(["secrets.json"]);
});

test("several that make them at once get the same ones", async () => {
  const all = await Promise.all(Array.from({ length: 8 }, () => loadInstanceSecrets(folder)));
  expect(new Set(all.map((secrets) => secrets.apiKeySecret)).size).toBe(1);
  expect(await readdir(folder)).toEqual(["secrets.json"]);
});

test.each(["", "{", "null", "[]", '{"apiKeySecret":"x"}'])(
  "a file with %j is damaged, and is not replaced",
  async (text) => {
    await writeFile(join(folder, "secrets.json"), text);
    await expect(loadInstanceSecrets(folder)).rejects.toThrow(/secrets.json: is damaged.*Restore it/);
  },
);

test("a file that is not one is told", async () => {
  await expect(readInstanceSecrets(join(folder, "secrets.json", ".."))).resolves.toBeUndefined();
  await mkdir(join(folder, "secrets.json"));
  await expect(loadInstanceSecrets(folder)).rejects.toThrow("cannot be read");
});

test("no new secrets are made for a folder whose keys were stored under lost ones", async () => {
  await writePrivateFile(join(folder, "credentials.json"), "{}");
  await expect(loadInstanceSecrets(folder)).rejects.toThrow(
    "secrets.json: is missing, and this folder was used before",
  );
});
