import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
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
  expect(new Set(Object.values(made)).size).toBe(4);
  for (const secret of Object.values(made)) expect(secret).toMatch(/^[\w-]{43}$/);
  expect(await loadInstanceSecrets(folder)).toEqual(made);
  expect((await stat(join(folder, "secrets.json"))).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(["secrets.json"]);
});

test("several that make them at once get the same ones", async () => {
  const all = await Promise.all(Array.from({ length: 8 }, () => loadInstanceSecrets(folder)));
  expect(new Set(all.map((secrets) => JSON.stringify(secrets))).size).toBe(1);
  expect(await readdir(folder)).toEqual(["secrets.json"]);
});

const earlier = { apiKeySecret: "a", databaseOwnerPassword: "b", databaseAppPassword: "c" };

test("a file of an earlier version gets a signing key, the same in all that start at once and ever after", async () => {
  const file = join(folder, "secrets.json");
  await writePrivateFile(file, JSON.stringify({ ...earlier, later: "kept" }));
  // Who only reads sees the key that will be there.
  const read = await readInstanceSecrets(folder);
  expect(JSON.parse(await readFile(file, "utf8"))).not.toHaveProperty("signingKey");
  const all = await Promise.all(Array.from({ length: 8 }, () => loadInstanceSecrets(folder)));
  for (const secrets of [...all, await loadInstanceSecrets(folder)]) expect(secrets).toEqual(read);
  expect(read?.signingKey).toMatch(/^[\w-]{43}$/);
  expect(JSON.parse(await readFile(file, "utf8"))).toEqual({ ...read, later: "kept" });
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder)).toEqual(["secrets.json"]);
});

test("the signing key of an earlier version's file is its own, and one that is there is kept", async () => {
  const keyOf = async (secrets: object) => {
    await writePrivateFile(join(folder, "secrets.json"), JSON.stringify(secrets));
    return (await loadInstanceSecrets(folder)).signingKey;
  };
  const keys = [await keyOf(earlier)];
  for (const name of Object.keys(earlier)) keys.push(await keyOf({ ...earlier, [name]: "other" }));
  expect(new Set(keys).size).toBe(4);
  const signingKey = "k".repeat(43);
  expect(await keyOf({ ...earlier, signingKey })).toBe(signingKey);
});

test.each([
  "",
  "{",
  "null",
  "[]",
  '{"apiKeySecret":"x"}',
  JSON.stringify({ ...earlier, signingKey: "short" }),
  JSON.stringify({ ...earlier, signingKey: null }),
])("a file with %j is damaged, and is not replaced", async (text) => {
  await writeFile(join(folder, "secrets.json"), text);
  await expect(loadInstanceSecrets(folder)).rejects.toThrow(/secrets.json: is damaged.*Restore it/);
});

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
