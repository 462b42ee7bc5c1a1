// Holds and takes over lock files in a temporary folder.
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { acquireFileLock } from "./model-lock.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-lock-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const signal = new AbortController().signal;
const path = () => join(folder, "model.lock");

test("one holder at a time, in spite of many who try", async () => {
  let holders = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const release = await acquireFileLock(path(), { signal, pollMs: 1 });
      most = Math.max(most, ++holders);
      await stat(path());
      holders -= 1;
      await release();
    }),
  );
  expect(most).toBe(1);
  expect(await readdir(folder)).toEqual([]);
});

test("the lock of a process that died is taken over", async () => {
  await writeFile(path(), "");
  const longAgo = new Date(Date.now() - 60_000);
  await utimes(path(), longAgo, longAgo);
  const release = await acquireFileLock(path(), { signal });
  await release();
  expect(existsSync(path())).toBe(false);
});

test("a holder renews its lock, so that waiting longer than the stale time does not take it away", async () => {
  const release = await acquireFileLock(path(), { signal, staleMs: 100 });
  const before = (await stat(path())).mtimeMs;
  await expect.poll(async () => (await stat(path())).mtimeMs, { interval: 10 }).toBeGreaterThan(before);
  await release();
});

test("a waiter is told once that it waits, and leaves when its signal is aborted", async () => {
  const release = await acquireFileLock(path(), { signal });
  const controller = new AbortController();
  let told = 0;
  const waiting = acquireFileLock(path(), { signal: controller.signal, pollMs: 1, onWait: () => told++ });
  await expect.poll(() => told).toBe(1);
  const reason = new Error("gone");
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  expect(told).toBe(1);
  await release();
});

test("a folder that is not there is an error, not a wait", async () => {
  await expect(acquireFileLock(join(folder, "nowhere", "lock"), { signal })).rejects.toMatchObject({
    code: "ENOENT",
  });
});
