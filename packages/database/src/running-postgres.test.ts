// Finds and ends a real embedded PostgreSQL.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogging } from "@ectus/core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded-postgres.ts";
import { findRunningPostgres, stopPostgresAtOnce } from "./running-postgres.ts";

const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("test");
let dataDir: string;
let postgres: EmbeddedPostgres;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "ectus-running-"));
  postgres = await startEmbeddedPostgres({ dataDir, log, settings: { fsync: "off" } });
});
afterAll(async () => {
  await postgres.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test("a folder without a cluster has none running", async () => {
  expect(await findRunningPostgres(join(dataDir, "nothing"))).toBeUndefined();
  await stopPostgresAtOnce(join(dataDir, "nothing"));
});

test("one that runs is found, with its port", async () => {
  expect(await findRunningPostgres(dataDir)).toEqual({
    pid: expect.any(Number),
    host: "127.0.0.1",
    port: postgres.port,
  });
});

test("one that another process holds is not ended", async () => {
  const holder = join(dataDir, "lock.pid");
  const own = await readFile(holder, "utf8");
  await writeFile(holder, `${process.ppid}\n`);
  await stopPostgresAtOnce(dataDir);
  expect(await findRunningPostgres(dataDir)).toBeDefined();
  await writeFile(holder, own);
});

test("a pid file that names another program's process is not believed", async () => {
  const pidFile = join(dataDir, "cluster", "postmaster.pid");
  const text = await readFile(pidFile, "utf8");
  await writeFile(pidFile, text.replace(/^\d+/, String(process.pid)));
  expect(await findRunningPostgres(dataDir)).toBeUndefined();
  await writeFile(pidFile, text);
});

test("our own is ended at once", async () => {
  const startedAt = performance.now();
  await stopPostgresAtOnce(dataDir);
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  expect(await findRunningPostgres(dataDir)).toBeUndefined();
  await postgres.exited;
});

test("one that does not end in time is killed", async () => {
  await postgres.stop();
  postgres = await startEmbeddedPostgres({ dataDir, log, settings: { fsync: "off" } });
  const running = await findRunningPostgres(dataDir);
  // A stopped process takes no other signal than this.
  process.kill(running?.pid ?? 0, "SIGSTOP");
  await stopPostgresAtOnce(dataDir, 50);
  expect(await postgres.exited).toMatchObject({ signal: "SIGKILL" });
});
