import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { peer } from "@ectus/peers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startS3 } from "../../../../tests/storage/start-s3.ts";
import { checkStorage } from "./storage.ts";

const gateway = await peer("versitygw");

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

test.skipIf(gateway === undefined)("an S3 storage is checked too, and what it wrote is removed", async () => {
  const server = await startS3(gateway?.files.versitygw ?? "", folder);
  try {
    for (const [name, value] of Object.entries(server.environment)) vi.stubEnv(name, value);
    expect(await checkStorage(server.url({ prefix: "a" }))).toMatchObject({ status: "ok" });
    const names = await readdir(server.folder, { recursive: true, withFileTypes: true });
    expect(names.filter((entry) => entry.isFile())).toEqual([]);
    await server.kill();
    const check = await checkStorage(server.url());
    expect(check).toMatchObject({ status: "fail", detail: expect.stringContaining("cannot be reached") });
  } finally {
    vi.unstubAllEnvs();
    await server.stop();
  }
});

test("credentials in the URL of an S3 storage are not shown", async () => {
  for (const url of [
    "s3://me:hunter2@bucket/x",
    "s3://me:hunter2/with/slashes@bucket/x",
    "s3://me:1/hunter2@bucket/x",
    "s3://bucket?endpoint=https%3A%2F%2Fme:hunter2@x",
    "s3://bucket?endpoint=https%3A%2F%2Fme%3Ahunter2%40x",
    "s3://bucket?secret_access_key=hunter2",
  ]) {
    const check = await checkStorage(url);
    expect(check.status).toBe("fail");
    expect(JSON.stringify(check)).not.toContain("hunter2");
  }
});
