// Runs `ectus migrate` on a test database and on an embedded one.
import { mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLogging } from "@ectus/core";
import { findRunningPostgres, startEmbeddedPostgres } from "@ectus/database";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../tests/postgres/test-database.ts";
import { runProgram } from "../program.ts";
import { recordContext, runRecorded } from "../recorded-context.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-migrate-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("with DATABASE_URL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
  });
  afterAll(() => database.drop());
  const run = (...args: string[]) =>
    runRecorded(
      { DATABASE_URL: database.appUrl, DATABASE_OWNER_URL: database.ownerUrl, DATA_DIR: folder },
      "migrate",
      ...args,
    );

  async function asOwner(sql: string): Promise<void> {
    const client = new pg.Client({ connectionString: database.ownerUrl });
    await client.connect();
    await client.query(sql).finally(() => client.end());
  }

  test("a database that is up to date is left as it is", async () => {
    expect(await run()).toEqual({ code: 0, out: "The database is up to date.\n", err: "" });
    expect(await run("--check")).toMatchObject({ code: 0, out: "The database is up to date.\n" });
    expect(JSON.parse((await run("--json")).out)).toEqual({
      object: "migration",
      applied: [],
      up_to_date: true,
      fault: null,
    });
  });

  test("--check tells of what is missing, changes nothing and exits with 1", async () => {
    await asOwner("alter table schema_migrations rename to elsewhere");
    try {
      const { code, out } = await run("--check", "--json");
      expect(code).toBe(1);
      expect(JSON.parse(out)).toEqual({
        object: "migration",
        applied: [],
        up_to_date: false,
        fault: "it has not been migrated; run 'ectus migrate'",
      });
      expect((await run("--check")).out).toContain("The database is not up to date: it has not");
    } finally {
      await asOwner("alter table elsewhere rename to schema_migrations");
    }
  });

  test("a database that this version does not know is refused", async () => {
    await asOwner("update schema_migrations set checksum = 'other' where version = 1");
    const { code, err } = await run();
    expect(code).toBe(1);
    expect(err).toContain("was applied with other contents");
  });
});

test("a database that does not answer is a failure that says where", async () => {
  const environment = { DATABASE_URL: "postgres://app:hunter2@127.0.0.1:1/ectus", DATA_DIR: folder };
  for (const flags of [[], ["--check"]]) {
    const { code, err } = await runRecorded(environment, "migrate", ...flags);
    expect(code).toBe(1);
    expect(err).toContain("127.0.0.1:1/ectus");
    expect(err).not.toContain("hunter2");
  }
});

describe("without DATABASE_URL", () => {
  const run = (...args: string[]) => runRecorded({ DATA_DIR: join(folder, "embedded") }, ...args);

  test("--check makes nothing where nothing is", async () => {
    const { code, out } = await run("migrate", "--check");
    expect(code).toBe(1);
    expect(out).toContain("there is no database in");
    expect(await readdir(folder)).not.toContain("embedded");
  });

  test("other commands say how a database is made", async () => {
    const { code, err } = await run("tenant", "list");
    expect(code).toBe(1);
    expect(err).toContain("Run 'ectus up' or 'ectus migrate' to make one");
  });

  test("Ctrl-C while the database is being made is a failure that leaves nothing half-made", async () => {
    const postgres = join(folder, "embedded", "postgres");
    const { context, signal } = recordContext({ DATA_DIR: join(folder, "embedded") });
    const ended = runProgram(["migrate"], context);
    const unfinished = async () =>
      (await readdir(postgres).catch((): string[] => [])).filter((name) => name.startsWith("unfinished-"));
    const giveUpAt = performance.now() + 20_000;
    while ((await unfinished()).length === 0 && performance.now() < giveUpAt) await delay(5);
    signal();
    expect(await ended).toBe(1);
    expect(await unfinished()).toEqual([]);
  });

  test("it makes the embedded database, migrates it, and leaves it stopped", async () => {
    const { code, out, err } = await run("migrate");
    expect(err).toBe("");
    expect(code).toBe(0);
    expect(out).toMatch(/^Applied \d+ migrations:\n {2}0001_/);
    expect((await run("migrate", "--check")).code).toBe(0);
    expect(await findRunningPostgres(join(folder, "embedded", "postgres"))).toBeUndefined();
    expect(JSON.parse((await run("tenant", "create", "Acme", "--json")).out)).toMatchObject({ name: "Acme" });
  });

  test("a running database whose passwords are gone is a failure that says so", async () => {
    const secrets = join(folder, "embedded", "secrets.json");
    const log = createLogging({ levels: { default: "silent", modules: {} }, format: "json" }).module("x");
    const postgres = await startEmbeddedPostgres({ dataDir: join(folder, "embedded", "postgres"), log });
    await rename(secrets, `${secrets}.away`);
    try {
      const { code, err } = await run("tenant", "list");
      expect(code).toBe(1);
      expect(err).toContain("secrets.json, which holds the passwords");
    } finally {
      await rename(`${secrets}.away`, secrets);
      await postgres.stop();
    }
  });
});
