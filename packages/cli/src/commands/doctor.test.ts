// Runs `ectus doctor` where nothing is yet, on a test database, and with faults; up.test.ts runs it on an instance.
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase } from "../../../../tests/postgres/test-database.ts";
import type { Check } from "../doctor/check.ts";
import { runRecorded } from "../recorded-context.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-doctor-"));
});
afterEach(() => rm(folder, { recursive: true }));

const run = (environment: Record<string, string>, ...args: string[]) =>
  runRecorded({ DATA_DIR: join(folder, "data"), PORT: "0", ...environment }, "doctor", ...args);

async function runJson(environment: Record<string, string>) {
  const { code, out } = await run(environment, "--json");
  const { status, checks } = JSON.parse(out) as { status: string; checks: Check[] };
  return { code, status, checks, find: (wanted: string) => checks.find(({ name }) => name === wanted) };
}

test("where nothing is yet it makes nothing and finds no failure", async () => {
  const { code, find } = await runJson({});
  expect(code).toBe(0);
  expect(find("database")).toMatchObject({
    status: "ok",
    detail: expect.stringContaining("the first start makes"),
  });
  expect(await readdir(folder)).toEqual([]);
});

test("people get one line a check, with the fix below what is not well", async () => {
  const { code, out } = await run({ AI_PROVIDERS: join(folder, "none.yaml") });
  expect(code).toBe(1);
  expect(out).toMatch(/^ok {4}node: Node\.js 26\./);
  expect(out).toMatch(/\nfail {2}providers file: .*\n( {6}.*\n)+ {6}Correct the file; /);
});

test("a configuration with faults is told, and what needs no configuration is still checked", async () => {
  const { code, status, checks } = await runJson({ PORT: "x" });
  expect(code).toBe(1);
  expect(status).toBe("fail");
  expect(checks.map(({ name, status: one }) => [name, one])).toEqual([
    ["node", "ok"],
    ["configuration", "fail"],
  ]);
});

test("files of the metrics exporter that cannot be used are a failure, since no instance starts with them", async () => {
  const { code, find } = await runJson({ METRICS_BASIC_AUTH_FILE: join(folder, "users") });
  expect(code).toBe(1);
  expect(find("metrics files")).toMatchObject({
    status: "fail",
    detail: expect.stringContaining("METRICS_BASIC_AUTH_FILE: got"),
  });
});

test("every part of a database is checked", async () => {
  const database = await createTestDatabase();
  const owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
  try {
    const environment = {
      DATABASE_URL: database.appUrl,
      DATABASE_OWNER_URL: database.ownerUrl,
      STORAGE_URL: `file://${folder}/files`,
    };
    const healthy = await runJson(environment);
    expect(healthy.checks.filter(({ status }) => status === "fail")).toEqual([]);
    expect(healthy.find("storage")).toMatchObject({ status: "ok" });
    expect(healthy.find("database")?.detail).toMatch(/^DATABASE_URL answers at 127\.0\.0\.1:\d+\/test_/);

    expect(healthy.find("data map")).toMatchObject({ status: "ok" });

    await owner.query("alter table files disable row level security");
    await owner.query("alter table users add column phone text");
    const next = new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() + 1, 1));
    await owner.query(`drop table usage_${next.toISOString().slice(0, 7).replace("-", "_")}`);
    await owner.query("drop table audit_log_default");
    await owner.query("create table audit_log_default (like audit_log)");
    await owner.query(
      "insert into audit_log_default (tenant_id, id, created_at, actor_type, action, target_type, details) values (gen_random_uuid(), gen_random_uuid(), now(), 'system', 'x', 'x', '{}')",
    );
    const ill = await runJson(environment);
    expect(ill.code).toBe(1);
    expect(ill.find("row security")?.detail).toContain("the table files has no row security");
    expect(ill.find("data map")).toMatchObject({
      status: "fail",
      detail: expect.stringContaining("The column phone of users is not in the data map"),
    });
    expect(ill.find("partitions of usage")?.detail).toBe(`none for ${next.toISOString().slice(0, 7)}`);
    expect(ill.find("default partition of audit_log")?.detail).toContain("holds rows");
  } finally {
    await owner.end();
    await database.drop();
  }
});

test("without DATABASE_OWNER_URL what only the owner may see is a warning", async () => {
  const database = await createTestDatabase();
  try {
    const { code, find } = await runJson({ DATABASE_URL: database.appUrl });
    expect(code).toBe(0);
    expect(find("default partition of usage")).toMatchObject({
      status: "warn",
      fix: expect.stringContaining("DATABASE_OWNER_URL"),
    });
  } finally {
    await database.drop();
  }
});
