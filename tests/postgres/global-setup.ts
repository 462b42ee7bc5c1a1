// Vitest's global setup: one embedded PostgreSQL for the whole test run, in a temporary folder, with the migrated
// template that createTestDatabase clones.
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogging, EctusError } from "@ectus/core";
import { startEmbeddedPostgres } from "@ectus/database";
import type { TestProject } from "vitest/node";
import { prepareTemplate } from "./template.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** URL of the test run's PostgreSQL as its superuser. */
    readonly superuserUrl: string;
  }
}

const folderPrefix = "ectus-test-postgres-";
const staleAfterMs = 60 * 60_000;

// The data of a test run need not survive the machine. Tests of durability start a cluster of their own.
const settings = {
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  // Every test file has a database and pools of its own, and files run in parallel.
  max_connections: "300",
};

const log = createLogging({ levels: { default: "error", modules: {} }, format: "json" }).module(
  "test-postgres",
);

export default async function setup(project: Pick<TestProject, "provide">): Promise<() => Promise<void>> {
  await removeStale();
  const folder = await mkdtemp(join(tmpdir(), folderPrefix));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const postgres = await startEmbeddedPostgres({ dataDir: folder, log, settings });
    try {
      await prepareTemplate(postgres.superuserUrl, log);
    } catch (error) {
      await postgres.stop();
      throw error;
    }
    project.provide("superuserUrl", postgres.superuserUrl);
    return async () => {
      await postgres.stop();
      await remove();
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Ends and removes what a test run that was killed left behind. */
async function removeStale(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(folderPrefix)) continue;
    const folder = join(tmpdir(), name);
    const age =
      Date.now() -
      (await stat(folder).then(
        (found) => found.mtimeMs,
        () => Date.now(),
      ));
    if (age < staleAfterMs) continue;
    try {
      // Starting it is what ends a postgres that still runs there.
      const postgres = await startEmbeddedPostgres({ dataDir: folder, log, settings });
      await postgres.stop();
    } catch (error) {
      // A long test run, or another user's, keeps its folder.
      if (error instanceof EctusError && error.code === "data_dir_in_use") continue;
      log.debug({ err: error }, "a stale test folder could not be started");
    }
    await rm(folder, { recursive: true, force: true }).catch(() => {});
  }
}
