// Brings a database to this version's schema: numbered SQL files, forward only, each in a transaction of its own,
// under an advisory lock so that any number of instances can start at once.
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { EctusError, errorMessage, type Logger } from "@ectus/core";
import pg from "pg";
import { PgBoss } from "pg-boss";
import { jobSchema } from "./jobs.ts";
import { appRole } from "./roles.ts";

const migrationsFolder = new URL("../migrations/", import.meta.url);
// Any number that no other program takes on this database.
const advisoryLock = 7_420_881_233;
const monthsAhead = 12;
const oldestServer = 150_000;

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/** The migrations of this version, in order. A file is named `0001_what_it_does.sql`. */
export async function loadMigrations(folder: URL = migrationsFolder): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  return Promise.all(
    names.map(async (name, index) => {
      const version = Number(/^(\d{4})_[a-z0-9_]+\.sql$/.exec(name)?.[1]);
      if (version !== index + 1)
        throw new Error(`migration ${name} is out of order: expected number ${index + 1}`);
      const sql = await readFile(new URL(name, folder), "utf8");
      return { version, name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    }),
  );
}

export interface MigrateOptions {
  /** Database URL of the role that owns the schema. */
  readonly url: string;
  readonly log: Logger;
  readonly migrations?: readonly Migration[];
}

/**
 * Migrates the database and returns the names of what was applied; nothing when it is up to date.
 *
 * @throws EctusError `schema_mismatch` when an applied migration differs from this version's file, when the database
 * is ahead of this version, when the server is older than PostgreSQL 15, or when the role lacks a right
 */
export async function migrate({ url, log, migrations }: MigrateOptions): Promise<string[]> {
  const wanted = migrations ?? (await loadMigrations());
  const client = new pg.Client({ connectionString: url, application_name: "ectus-migrate" });
  await client.connect();
  try {
    await checkServer(client);
    await client.query("select pg_advisory_lock($1)", [advisoryLock]);
    await prepare(client);
    const applied = await readApplied(client);
    checkApplied(applied, wanted);
    const done: string[] = [];
    for (const migration of wanted.slice(applied.length)) {
      await apply(client, migration);
      log.info({ migration: migration.name }, "migration applied");
      done.push(migration.name);
    }
    await client.query("call create_month_partitions((now() at time zone 'UTC')::date, $1)", [monthsAhead]);
    await migrateJobs(client, url);
    return done;
  } finally {
    await client.end();
  }
}

/** Says why a database does not fit this version, or nothing if it does. Changes nothing. */
export async function schemaFault(client: pg.ClientBase): Promise<string | undefined> {
  const wanted = await loadMigrations();
  const table = await client.query("select to_regclass('schema_migrations') as found");
  if (table.rows[0].found === null) return "it has not been migrated; run 'ectus migrate'";
  const applied = await readApplied(client);
  try {
    checkApplied(applied, wanted);
  } catch (error) {
    return errorMessage(error);
  }
  return applied.length < wanted.length
    ? `${wanted.length - applied.length} migrations are missing; run 'ectus migrate'`
    : undefined;
}

async function checkServer(client: pg.Client): Promise<void> {
  const { rows } = await client.query("show server_version_num");
  const version = Number(rows[0].server_version_num);
  if (version < oldestServer) {
    throw new EctusError("schema_mismatch", {
      reason: `PostgreSQL 15 or later is needed, this is ${Math.floor(version / 10_000)}.`,
    });
  }
}

async function prepare(client: pg.Client): Promise<void> {
  const role = await client.query("select from pg_roles where rolname = $1", [appRole]);
  if (role.rowCount === 0) {
    try {
      await client.query(`create role ${appRole} nologin nobypassrls`);
      await client.query(`grant ${appRole} to current_user`);
    } catch (cause) {
      // Another database of the same server may have made the role in the same moment.
      if (!(cause instanceof pg.DatabaseError && (cause.code === "42710" || cause.code === "23505"))) {
        throw new EctusError(
          "schema_mismatch",
          {
            reason: `the role ${appRole} is missing and cannot be made (${errorMessage(cause)}). As a superuser, run: create role ${appRole}; grant ${appRole} to current_user;`,
          },
          { cause },
        );
      }
    }
  }
  await client.query(
    `create table if not exists schema_migrations (
       version integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`,
  );
  await client.query(`grant select on schema_migrations to ${appRole}`);
}

type Applied = Pick<Migration, "version" | "name" | "checksum">;

async function readApplied(client: pg.ClientBase): Promise<Applied[]> {
  const { rows } = await client.query<Applied>(
    "select version, name, checksum from schema_migrations order by version",
  );
  return rows;
}

function checkApplied(applied: readonly Applied[], wanted: readonly Migration[]): void {
  for (const [index, row] of applied.entries()) {
    const migration = wanted[index];
    if (migration === undefined) {
      throw new EctusError("schema_mismatch", {
        reason: `the database has migration ${row.name}, which this version does not know. Start a newer version.`,
      });
    }
    if (migration.checksum !== row.checksum) {
      throw new EctusError("schema_mismatch", {
        reason: `migration ${row.name} was applied with other contents than ${migration.name} has now. An applied migration must never change; add a new one.`,
      });
    }
  }
}

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  await client.query("begin");
  try {
    // A migration that cannot get its locks soon must not make every query of a live system wait behind it.
    await client.query("set local lock_timeout = '5s'");
    await client.query(migration.sql);
    await client.query("insert into schema_migrations (version, name, checksum) values ($1, $2, $3)", [
      migration.version,
      migration.name,
      migration.checksum,
    ]);
    await client.query("commit");
  } catch (cause) {
    await client.query("rollback");
    throw new EctusError(
      "schema_mismatch",
      { reason: `migration ${migration.name} failed: ${errorMessage(cause)}` },
      { cause },
    );
  }
}

async function migrateJobs(client: pg.Client, url: string): Promise<void> {
  const boss = new PgBoss({
    connectionString: url,
    schema: jobSchema,
    max: 1,
    supervise: false,
    schedule: false,
  });
  boss.on("error", () => {});
  await boss.start();
  await boss.stop({ graceful: false });
  await client.query(`grant usage on schema ${jobSchema} to ${appRole}`);
  await client.query(
    `grant select, insert, update, delete on all tables in schema ${jobSchema} to ${appRole}`,
  );
  await client.query(`grant execute on all functions in schema ${jobSchema} to ${appRole}`);
}
