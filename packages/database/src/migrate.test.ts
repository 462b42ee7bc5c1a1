import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { apiKeyDigest, createApiKey } from "@ectus/core";
import pg from "pg";
import { afterEach, expect, inject, test } from "vitest";
import { bySystem } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { app, owner, urlAs } from "../../../tests/postgres/template.ts";
import { createTestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { openDatabase } from "./database.ts";
import { checkServer, loadMigrations, type Migration, migrate, monthsAhead, schemaFault } from "./migrate.ts";
import { insertApiKey } from "./queries/api-keys.ts";
import { findApiKey } from "./queries/find-api-key.ts";
import { createTenant, listTenants } from "./queries/tenants.ts";
import { ownerRole } from "./roles.ts";

const { log, lines } = recordingLog();
const superuserUrl = inject("superuserUrl");
const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function query(url: string, sql: string, values?: unknown[]): Promise<pg.QueryResult> {
  const client = await connect(url);
  try {
    return await client.query(sql, values);
  } finally {
    await client.end();
  }
}

async function emptyDatabase(role = ownerRole): Promise<string> {
  const name = `test_${randomBytes(6).toString("hex")}`;
  await query(superuserUrl, `create database ${name} owner ${role}`);
  undo.push(() => query(superuserUrl, `drop database ${name} with (force)`));
  return name;
}

async function migratedDatabase(): Promise<{ ownerUrl: string; appUrl: string }> {
  const database = await createTestDatabase();
  undo.push(database.drop);
  return database;
}

const migration = (version: number, sql: string, checksum = `checksum ${version}`): Migration => ({
  version,
  name: `000${version}_test.sql`,
  sql,
  checksum,
});

const tables = async (url: string): Promise<string[]> => {
  const { rows } = await query(
    url,
    "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')",
  );
  return rows.map(({ relname }) => relname);
};

test("an empty database is migrated once, and the second time nothing is done", async () => {
  const url = urlAs(superuserUrl, owner, await emptyDatabase());
  const all = (await loadMigrations()).map(({ name }) => name);
  expect(await migrate({ url, log })).toEqual(all);
  expect(await migrate({ url, log })).toEqual([]);
  const { rows } = await query(url, "select name from schema_migrations order by version");
  expect(rows.map(({ name }) => name)).toEqual(all);
});

test("of ten instances that migrate an empty database at once all succeed and each migration is applied once", async () => {
  const url = urlAs(superuserUrl, owner, await emptyDatabase());
  const all = (await loadMigrations()).map(({ name }) => name);
  const applied = await Promise.all(Array.from({ length: 10 }, () => migrate({ url, log })));
  expect(applied.flat().sort()).toEqual(all);
  expect(applied.filter((names) => names.length > 0)).toHaveLength(1);
});

test("a migration that fails leaves nothing, and those before it stay", async () => {
  const { ownerUrl: url } = await migratedDatabase();
  const shipped = await loadMigrations();
  const next = shipped.length + 1;
  const broken = migration(next + 1, "create table half (); select 1 / 0");
  const migrations = [...shipped, migration(next, "create table whole ()"), broken];
  await expect(migrate({ url, log, migrations })).rejects.toThrow(
    `migration ${broken.name} failed, nothing of it was applied: division by zero`,
  );
  const found = await tables(url);
  expect(found).toContain("whole");
  expect(found).not.toContain("half");
  const { rows } = await query(url, "select max(version)::int as version from schema_migrations");
  expect(rows).toEqual([{ version: next }]);
});

test("an applied migration whose file has changed is refused, and so is a database that is ahead", async () => {
  const { ownerUrl: url } = await migratedDatabase();
  const shipped = await loadMigrations();
  const changed = shipped.map((one, index) => (index === 0 ? { ...one, checksum: "other" } : one));
  await expect(migrate({ url, log, migrations: changed })).rejects.toThrow(
    "An applied migration must never change",
  );
  await expect(migrate({ url, log, migrations: shipped.slice(0, -1) })).rejects.toMatchObject({
    code: "schema_mismatch",
    message: expect.stringContaining("Start a newer version"),
  });
});

test("a migration that waits for a long transaction fails in bounded time, says why, and lets queries pass", async () => {
  const { ownerUrl: url, appUrl } = await migratedDatabase();
  const long = await connect(url);
  undo.push(() => long.end());
  await long.query("begin");
  await long.query("select from files");
  const shipped = await loadMigrations();
  const blocked = migration(shipped.length + 1, "alter table files add column more text");
  const startedAt = performance.now();
  const migrating = migrate({ url, log, migrations: [...shipped, blocked], lockTimeoutMs: 300 });
  migrating.catch(() => {});
  await until(async () => {
    const { rows } = await query(url, "select from pg_stat_activity where wait_event_type = 'Lock'");
    return rows.length > 0;
  });
  // It stands behind the migration, and is let through when that gives up.
  await query(appUrl, "select count(*) from files");
  await expect(migrating).rejects.toThrow(/another transaction kept a lock.*pg_stat_activity/);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test("who waits too long for another process that migrates is told so", async () => {
  const { ownerUrl: url } = await migratedDatabase();
  const other = await connect(url);
  undo.push(() => other.end());
  await other.query("select pg_advisory_lock(7420881233)");
  await expect(migrate({ url, log, turnTimeoutMs: 50 })).rejects.toMatchObject({
    code: "schema_mismatch",
    message: expect.stringContaining("another process has been migrating this database"),
  });
});

test("PostgreSQL 14 and older are refused, 15 is not", () => {
  expect(() => checkServer(140_022)).toThrow("PostgreSQL 15 or later is needed, this is 14");
  expect(() => checkServer(150_000)).not.toThrow();
});

test("a database that cannot be reached is database_unavailable", async () => {
  const nowhere = "postgres://nobody:nothing@127.0.0.1:1/nowhere";
  await expect(migrate({ url: nowhere, log })).rejects.toMatchObject({ code: "database_unavailable" });
});

test("an owner without any special right can migrate and the application can use what it made", async () => {
  const plain = { role: `plain_${randomBytes(4).toString("hex")}`, password: "plain" };
  await query(superuserUrl, `create role ${plain.role} login nobypassrls password '${plain.password}'`);
  undo.push(() => query(superuserUrl, `drop role ${plain.role}`));
  const name = await emptyDatabase(plain.role);
  await query(superuserUrl, `grant ectus_app to ${plain.role}`);
  const url = urlAs(superuserUrl, plain, name);
  expect(await migrate({ url, log })).not.toEqual([]);
  // With the application's login, and with the owner's, whose rights it gives up.
  for (const login of [app, plain]) {
    const database = openDatabase({ url: urlAs(superuserUrl, login, name), poolSize: 2, log });
    undo.push(() => database.close());
    const { id: tenantId } = await createTenant(database, { name: login.role }, bySystem);
    const digest = apiKeyDigest(createApiKey(), "secret");
    const key = { tenantId, name: "k", prefix: "sk-x", digest, scopes: ["inference"] } as const;
    const { id: keyId } = await insertApiKey(database, key, bySystem);
    expect(await findApiKey(database, [digest])).toMatchObject({ tenantId, keyId });
    expect((await listTenants(database, { limit: 10 })).map((tenant) => tenant.name)).toContain(login.role);
    const [role] = await database.run<{ name: string; bypasses: boolean }>({
      text: "select rolname as name, rolbypassrls as bypasses from pg_roles where rolname = current_user",
      values: [],
      operation: "test",
      table: "none",
    });
    expect(role).toEqual({ name: "ectus_app", bypasses: false });
  }
});

test("settings of the role or the URL neither cut a migration short nor lead it elsewhere", async () => {
  const name = await emptyDatabase();
  const url = new URL(urlAs(superuserUrl, owner, name));
  await query(url.href, "create schema elsewhere");
  url.searchParams.set("options", "-c search_path=elsewhere -c statement_timeout=1");
  await migrate({ url: url.href, log });
  expect(await tables(url.href.replace(/\?.*/, ""))).toContain("tenants");
});

test("the current month and twelve more have partitions, and a row of a far month is taken all the same", async () => {
  const { ownerUrl: url } = await migratedDatabase();
  const { rows } = await query(
    url,
    `select p.relname as parent, c.relname as name from pg_inherits
     join pg_class c on c.oid = inhrelid join pg_class p on p.oid = inhparent where p.relkind = 'p'`,
  );
  const now = new Date();
  for (const parent of ["usage", "audit_log"]) {
    const expected = Array.from({ length: monthsAhead + 1 }, (_, ahead) => {
      const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead, 1));
      return `${parent}_${month.toISOString().slice(0, 7).replace("-", "_")}`;
    });
    const found = rows.filter((row) => row.parent === parent).map((row) => row.name);
    expect(found.sort()).toEqual([...expected, `${parent}_default`].sort());
  }
  const insert = `insert into audit_log (tenant_id, id, created_at, actor_type, action, target_type)
    values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), $1, 'system', 'test', 'test')
    returning tableoid::regclass::text as part`;
  expect((await query(url, insert, ["2050-05-05T00:00:00Z"])).rows).toEqual([{ part: "audit_log_default" }]);
  const last = `${now.getUTCFullYear()}-12-31T23:59:59.999Z`;
  expect((await query(url, insert, [last])).rows).toEqual([{ part: `audit_log_${last.slice(0, 4)}_12` }]);
  // Its month stays in the default partition; the others of that year get their own.
  await query(url, "call create_month_partitions('2050-04-01', 3)");
  const made = (await tables(url)).filter((table) => table.startsWith("audit_log_2050"));
  expect(made.sort()).toEqual(["audit_log_2050_04", "audit_log_2050_06"]);
});

test("a start is not stopped by partitions that cannot be made now", async () => {
  const { ownerUrl: url } = await migratedDatabase();
  const month = new Date();
  month.setUTCMonth(month.getUTCMonth() + monthsAhead, 1);
  const part = `usage_${month.toISOString().slice(0, 7).replace("-", "_")}`;
  await query(url, `drop table ${part}`);
  const reader = await connect(url);
  undo.push(() => reader.end());
  await reader.query("begin");
  await reader.query("select count(*) from usage");
  expect(await migrate({ url, log, lockTimeoutMs: 100 })).toEqual([]);
  expect(lines.at(-1)).toMatchObject({
    level: "warn",
    msg: expect.stringContaining("partitions of coming months"),
  });
  await reader.query("commit");
  await migrate({ url, log });
  expect(await tables(url)).toContain(part);
});

test("schemaFault says what is missing and changes nothing", async () => {
  const empty = await connect(urlAs(superuserUrl, owner, await emptyDatabase()));
  undo.push(() => empty.end());
  expect(await schemaFault(empty)).toBe("it has not been migrated; run 'ectus migrate'");
  const { ownerUrl: url } = await migratedDatabase();
  const client = await connect(url);
  undo.push(() => client.end());
  expect(await schemaFault(client)).toBeUndefined();
  const last = (await loadMigrations()).length;
  await client.query("delete from schema_migrations where version = $1", [last]);
  expect(await schemaFault(client)).toBe("1 migrations are missing; run 'ectus migrate'");
  await client.query("update schema_migrations set checksum = 'other' where version = 1");
  expect(await schemaFault(client)).toContain("An applied migration must never change");
});

test("migrations are numbered without a gap", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-migrations-"));
  undo.push(() => rm(folder, { recursive: true }));
  for (const name of ["0001_one.sql", "0003_three.sql", "notes.txt"])
    await writeFile(join(folder, name), "select 1");
  await expect(loadMigrations(pathToFileURL(`${folder}/`))).rejects.toThrow(
    "migration 0003_three.sql is out of order: expected number 2",
  );
});

test("a job queue whose schema cannot be made is said so", async () => {
  const name = await emptyDatabase();
  const url = urlAs(superuserUrl, owner, name);
  await query(
    superuserUrl.replace(/\/postgres$/, `/${name}`),
    "create schema pgboss create table pgboss.version ()",
  );
  await expect(migrate({ url, log })).rejects.toMatchObject({
    code: "schema_mismatch",
    message: expect.stringContaining("the job queue's schema could not be made: "),
  });
});
