import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withLock } from "./lock.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-lock-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("work under the same lock runs one after the other", async () => {
  const file = join(folder, "a.lock");
  const events: string[] = [];
  const work = (name: string) => async () => {
    events.push(`${name} starts`);
    await new Promise(setImmediate);
    events.push(`${name} ends`);
  };
  await Promise.all([withLock(file, {}, work("first")), withLock(file, {}, work("second"))]);
  expect(events).toEqual(["first starts", "first ends", "second starts", "second ends"]);
});

test("one that waits is told once, and gives up after the time limit", async () => {
  const file = join(folder, "b.lock");
  let told = 0;
  await withLock(file, {}, async () => {
    const second = withLock(file, { timeoutMs: 250, onWait: () => told++ }, async () => "never");
    await expect(second).rejects.toMatchObject({ code: "peer_missing" });
  });
  expect(told).toBe(1);
});

test("the lock is free again after work that failed", async () => {
  const file = join(folder, "c.lock");
  const failing = withLock(file, {}, async () => {
    throw new Error("broken");
  });
  await expect(failing).rejects.toThrow("broken");
  expect(await withLock(file, { timeoutMs: 0 }, async () => "in")).toBe("in");
});

test("a holder that is killed leaves no lock behind", async () => {
  const file = join(folder, "d.lock");
  const lockModule = join(import.meta.dirname, "lock.ts");
  const script = `
    import { withLock } from ${JSON.stringify(lockModule)};
    await withLock(${JSON.stringify(file)}, {}, () => {
      process.stdout.write("held");
      return new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const holder = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  await expect(withLock(file, { timeoutMs: 0 }, async () => "in")).rejects.toMatchObject({
    code: "peer_missing",
  });
  holder.kill("SIGKILL");
  await once(holder, "close");
  expect(await withLock(file, { timeoutMs: 5_000 }, async () => "in")).toBe("in");
});
