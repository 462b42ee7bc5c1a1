import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogging } from "@ectus/core";
import { startEmbeddedPostgres } from "@ectus/database";
import pg from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import setup from "./global-setup.ts";
import { templateDatabase } from "./template.ts";

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "ectus-global-setup-"));
  vi.stubEnv("TMPDIR", base);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(base, { recursive: true, force: true });
});

async function age(folder: string): Promise<void> {
  const twoHoursAgo = new Date(Date.now() - 2 * 3_600_000);
  await utimes(folder, twoHoursAgo, twoHoursAgo);
}

test("a test run has a migrated template, removes what a killed run left, and leaves nothing", async () => {
  const killed = join(base, "ectus-test-postgres-killed");
  const child = spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `import { createLogging } from "@ectus/core";
       import { startEmbeddedPostgres } from "@ectus/database";
       const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("x");
       await startEmbeddedPostgres({ dataDir: ${JSON.stringify(killed)}, log, settings: { fsync: "off" } });
       console.log("started");`,
    ],
    { cwd: import.meta.dirname, stdio: ["ignore", "pipe", "inherit"] },
  );
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  const orphan = Number.parseInt(await readFile(join(killed, "cluster", "postmaster.pid"), "utf8"), 10);
  await age(killed);
  const young = join(base, "ectus-test-postgres-young");
  await mkdir(young);
  const inUse = join(base, "ectus-test-postgres-in-use");
  const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("x");
  const other = await startEmbeddedPostgres({ dataDir: inUse, log, settings: { fsync: "off" } });
  try {
    await age(inUse);
    const provide = vi.fn();
    const teardown = await setup({ provide });
    try {
      const [key, superuserUrl] = provide.mock.calls[0] ?? [];
      expect(key).toBe("superuserUrl");
      const client = new pg.Client({ connectionString: superuserUrl });
      await client.connect();
      const { rows } = await client.query(
        "SELECT datistemplate, datallowconn FROM pg_database WHERE datname = $1",
        [templateDatabase],
      );
      expect(rows).toEqual([{ datistemplate: true, datallowconn: false }]);
      await client.end();
      expect(() => process.kill(orphan, 0)).toThrow("ESRCH");
    } finally {
      await teardown();
    }
  } finally {
    await other.stop();
  }
  expect((await readdir(base)).sort()).toEqual(["ectus-test-postgres-in-use", "ectus-test-postgres-young"]);
});
