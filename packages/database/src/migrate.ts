// Brings a database to this version's schema: numbered SQL files, forward only, each in a transaction of its own,
// under an advisory lock so that any number of instances can start at once.
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { EctusError, errorMessage, type Logger } from "@ectus/core";
import pg from "pg";
import { PgBoss } from "pg-boss";
import {
  isConnectionError,
  isLockTimeout,
  isUniqueViolation,
  rowsOf,
  toDatabaseError,
} from "./database-errors.ts";
import { jobSchema } from "./jobs.ts";
import { appRole } from "./roles.ts";

const migrationsFolder = new URL("../migrations/", import.meta.url);
// Any number that no other program takes on this database.
const advisoryLock = 7_420_881_233;
/** Months after the current one that have partitions after a migration. */
export const monthsAhead = 12;
const oldestServer = 150_000;
const connectTimeoutMs = 10_000;
const defaultLockTimeoutMs = 5_000;
// Another instance that migrates may be building an index.
const defaultTurnTimeoutMs = 600_000;

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
  /** How long a migration waits for a lock, and with it every query that comes after; 5,000 by default. */
  readonly lockTimeoutMs?: number;
  /** How long to wait for another process that is migrating; 600,000 by default. */
  readonly turnTimeoutMs?: number;
}

/**
 * Migrates the database and returns the names of what was applied; nothing when it is up to date.
 *
 * @throws EctusError `schema_mismatch` when an applied migration differs from this version's file, when the database
 * is ahead of this version, when the server is older than PostgreSQL 15, when the role lacks a right, or when a lock
 * was not to be had; `database_unavailable` when the database cannot be reached
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const { url, log, lockTimeoutMs = defaultLockTimeoutMs, turnTimeoutMs = defaultTurnTimeoutMs } = options;
  const wanted = options.migrations ?? (await loadMigrations());
  const client = new pg.Client({
    connectionString: url,
    application_name: "ectus-migrate",
    connectionTimeoutMillis: connectTimeoutMs,
  });
  // A connection that breaks between two queries says so here; the next query rejects.
  client.on("error", () => {});
  try {
    await client.connect();
    checkServer(Number((await client.query("show server_version_num")).rows[0].server_version_num));
    // Whatever the role's or the URL's settings are: tables go to public, and a long migration is not cut off.
    await client.query("set search_path = public");
    await client.query("set statement_timeout = 0");
    await takeTurn(client, turnTimeoutMs);
    // A change that cannot get its locks soon must not make every query of a live system wait behind it.
    await client.query("select set_config('lock_timeout', $1, false)", [`${lockTimeoutMs}ms`]);
    await prepare(client);
    const applied = await readApplied(client);
    checkApplied(applied, wanted);
    const done: string[] = [];
    for (const migration of wanted.slice(applied.length)) {
      await apply(client, migration);
      log.info({ migration: migration.name }, "migration applied");
      done.push(migration.name);
    }
    await makePartitions(client, log);
    await migrateJobs(client);
    return done;
  } catch (error) {
    throw toDatabaseError(error);
  } finally {
    await client.end().catch(() => {});
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

/** @throws EctusError `schema_mismatch`. `version` is the server's number, as 150013. */
export function checkServer(version: number): void {
  if (version < oldestServer) {
    throw new EctusError("schema_mismatch", {
      reason: `PostgreSQL 15 or later is needed, this is ${Math.floor(version / 10_000)}.`,
    });
  }
}

async function takeTurn(client: pg.Client, timeoutMs: number): Promise<void> {
  await client.query("select set_config('lock_timeout', $1, false)", [`${timeoutMs}ms`]);
  try {
    await client.query("select pg_advisory_lock($1)", [advisoryLock]);
  } catch (cause) {
    if (!isLockTimeout(cause)) throw cause;
    throw new EctusError(
      "schema_mismatch",
      {
        reason: `another process has been migrating this database for more than ${Math.round(timeoutMs / 1_000)} s (application_name 'ectus-migrate' in pg_stat_activity). Wait for it or end it, and start again.`,
      },
      { cause },
    );
  }
}

async function prepare(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ owner: string; missing: boolean }>(
    "select quote_ident(current_user) as owner, not exists (select from pg_roles where rolname = $1) as missing",
    [appRole],
  );
  const { owner, missing } = rows[0] as { owner: string; missing: boolean };
  if (missing) await createAppRole(client, owner);
  await client.query(
    `create table if not exists schema_migrations (
       version integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`,
  );
  await client.query(`grant select on schema_migrations to ${appRole}`);
}

async function createAppRole(client: pg.Client, owner: string): Promise<void> {
  try {
    await client.query(`create role ${appRole} nologin nobypassrls`);
    // So that the application may log in with the owner's URL, and gives up the owner's rights.
    await client.query(`grant ${appRole} to ${owner}`);
  } catch (cause) {
    // Another database of the same server may have made the role in the same moment.
    if (isUniqueViolation(cause) || (cause instanceof pg.DatabaseError && cause.code === "42710")) return;
    throw new EctusError(
      "schema_mismatch",
      {
        reason: `the role ${appRole} is missing and cannot be made (${errorMessage(cause)}). As a superuser, run: create role ${appRole} nologin nobypassrls; grant ${appRole} to ${owner};`,
      },
      { cause },
    );
  }
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
  try {
    await client.query("begin");
    await client.query(migration.sql);
    await client.query("insert into schema_migrations (version, name, checksum) values ($1, $2, $3)", [
      migration.version,
      migration.name,
      migration.checksum,
    ]);
    await client.query("commit");
  } catch (cause) {
    await client.query("rollback").catch(() => {});
    if (isConnectionError(cause)) throw cause;
    throw new EctusError(
      "schema_mismatch",
      { reason: `migration ${migration.name} failed, nothing of it was applied: ${explain(cause)}` },
      { cause },
    );
  }
}

function explain(cause: unknown): string {
  return isLockTimeout(cause)
    ? "another transaction kept a lock that it needs for too long. Look for old transactions in pg_stat_activity (order by xact_start), wait for them or end them, and start again."
    : errorMessage(cause);
}

// A start must not fail for a partition of a far month: until there is one, the default partition takes the rows.
async function makePartitions(client: pg.Client, log: Logger): Promise<void> {
  try {
    await client.query("call create_month_partitions((now() at time zone 'UTC')::date, $1)", [
      monthsAhead + 1,
    ]);
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    log.warn(
      { reason: explain(error) },
      "partitions of coming months could not be made; the next start tries again",
    );
  }
}

// Over the same connection, and so with the same lock timeout and turn.
async function migrateJobs(client: pg.Client): Promise<void> {
  const boss = new PgBoss({
    db: { executeSql: async (text, values) => rowsOf(await client.query(text, values)) },
    schema: jobSchema,
    supervise: false,
    schedule: false,
  });
  const failures: unknown[] = [];
  boss.on("error", (error) => failures.push(error));
  try {
    await boss.start();
  } catch (cause) {
    // Its own transaction may have been left open by a statement that failed.
    await client.query("rollback").catch(() => {});
    if (isConnectionError(cause)) throw cause;
    throw new EctusError(
      "schema_mismatch",
      { reason: `the job queue's schema could not be made: ${explain(cause)}` },
      { cause },
    );
  } finally {
    await boss.stop({ graceful: false });
  }
  if (failures.length > 0) throw failures[0];
  await client.query(`grant usage on schema ${jobSchema} to ${appRole}`);
  await client.query(
    `grant select, insert, update, delete on all tables in schema ${jobSchema} to ${appRole}`,
  );
  await client.query(`grant execute on all functions in schema ${jobSchema} to ${appRole}`);
}
