// The connection that an import writes through: as the owner of the schema, outside of the pool, and the only one that
// imports the tenant, by a lock that ends with it.
import type { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { sendCancelRequest } from "../cancel-request.ts";
import { isLockTimeout, toDatabaseError } from "../database-errors.ts";
import { importRefused } from "./import-refused.ts";

export interface ImportConnection extends AsyncDisposable {
  /** Aborted with the reason when the caller's signal is, and when the connection breaks. */
  readonly signal: AbortSignal;
  run<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Sends the bytes of `source`, passed through `steps`, to a `copy … from stdin`, and gives the rows that it took. */
  copyIn(text: string, source: Readable, steps: readonly CopyStep[]): Promise<number>;
}

type CopyStep = Transform | ((source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>);

export interface ImportConnectionOptions {
  /** Database URL of the role that owns the schema. */
  readonly ownerUrl: string;
  readonly tenantId: string;
  /** Ends what the server does; the connection is of no use then. */
  readonly signal?: AbortSignal;
  /** How long to wait for another connection that has the tenant; not at all by default. */
  readonly waitForTenantMs?: number;
  /** How long to wait for what else is locked; 10,000 by default. */
  readonly lockTimeoutMs?: number;
}

const connectTimeoutMs = 10_000;
export const defaultLockTimeoutMs = 10_000;
const cancelTimeoutMs = 1_000;
const silenceTimeoutMs = 5_000;
const endTimeoutMs = 2_000;

// Texts of values must be those of the export, whatever the role's or the database's settings are; and a long import is
// not cut off, nor while the connection waits for files to be stored (PostgreSQL has transaction_timeout from version 17
// on). A migration that has the tables locked is waited for, but not for long.
const settings = (lockTimeoutMs: number): string => `
  set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
  set extra_float_digits = 1; set client_encoding = 'UTF8'; set search_path = public; set statement_timeout = 0;
  set idle_in_transaction_session_timeout = 0; set idle_session_timeout = 0; set lock_timeout = ${lockTimeoutMs};
  set default_transaction_isolation = 'read committed';
  select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout'`;

/** Name of the lock of whoever imports a tenant, or removes what an import left of it. */
export const importLock = (tenantId: string): string => `ectus import ${tenantId}`;

/** @throws EctusError `import_refused` when another import has the tenant, or the role does not own the schema */
export async function openImportConnection(options: ImportConnectionOptions): Promise<ImportConnection> {
  const { ownerUrl, tenantId, signal, waitForTenantMs = 0, lockTimeoutMs = defaultLockTimeoutMs } = options;
  signal?.throwIfAborted();
  const clientOptions: pg.ClientConfig = {
    connectionString: ownerUrl,
    application_name: "ectus-import",
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
  const client = new pg.Client(clientOptions);
  const lost = new AbortController();
  client.on("error", (error) => lost.abort(toDatabaseError(error)));
  let silence: NodeJS.Timeout | undefined;
  const stop = (): void => {
    void sendCancelRequest(client, clientOptions, cancelTimeoutMs);
    // A server that cannot be reached any more neither cancels nor says so.
    silence = setTimeout(() => destroyStream(client), silenceTimeoutMs);
  };
  const ended = signal === undefined ? lost.signal : AbortSignal.any([lost.signal, signal]);

  const connection: ImportConnection = {
    signal: ended,
    async run<Row extends object>(text: string, values: readonly unknown[] = []) {
      ended.throwIfAborted();
      try {
        return (await client.query<Row & pg.QueryResultRow>(text, values as unknown[])).rows;
      } catch (error) {
        throw asReason(error);
      }
    },
    async copyIn(text, source, steps) {
      if (ended.aborted) source.destroy();
      ended.throwIfAborted();
      const copy = client.query(copyFrom(text, { highWaterMark: 1024 * 1024 }));
      try {
        await pipeline([source, ...steps, copy], { signal: ended });
      } catch (error) {
        throw asReason(error);
      }
      return copy.rowCount;
    },
    async [Symbol.asyncDispose]() {
      signal?.removeEventListener("abort", stop);
      clearTimeout(silence);
      await endWithin(client, endTimeoutMs);
    },
  };

  /** That a statement failed because it was stopped says less than why it was. */
  function asReason(error: unknown): unknown {
    if (ended.aborted) return ended.reason;
    if (isLockTimeout(error))
      return importRefused(
        "another transaction, perhaps a migration, keeps something locked for too long. Wait for its end.",
        error,
      );
    return toDatabaseError(error);
  }

  try {
    await client.connect().catch((error) => {
      throw toDatabaseError(error);
    });
    signal?.addEventListener("abort", stop, { once: true });
    await client.query(settings(lockTimeoutMs));
    await refuseOtherRole(connection);
    await takeTenant(connection, tenantId, waitForTenantMs);
    return connection;
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

async function refuseOtherRole(connection: ImportConnection): Promise<void> {
  // Whoever has the owner's rights sees every row by the policies `owner`.
  const [role] = await connection.run<{ name: string; owns: boolean }>(
    "select current_user as name, pg_has_role(relowner, 'usage') as owns from pg_class where oid = to_regclass('public.tenants')",
  );
  if (role === undefined)
    throw importRefused("the database has not been migrated. Run 'ectus migrate' first.");
  if (!role.owns)
    throw importRefused(
      `the role ${role.name} does not own the tables. Set DATABASE_OWNER_URL to the URL of the role that migrates the database.`,
    );
}

async function takeTenant(
  connection: ImportConnection,
  tenantId: string,
  waitForTenantMs: number,
): Promise<void> {
  if (waitForTenantMs === 0) {
    const [got] = await connection.run<{ locked: boolean }>(
      "select pg_try_advisory_lock(hashtextextended($1, 0)) as locked",
      [importLock(tenantId)],
    );
    if (got?.locked !== true)
      throw importRefused(
        `another process imports the tenant ${tenantId} now, or removes what an import left of it. Wait for it.`,
      );
    return;
  }
  await connection.run("select set_config('lock_timeout', $1, false)", [String(waitForTenantMs)]);
  await connection.run("select pg_advisory_lock(hashtextextended($1, 0))", [importLock(tenantId)]);
}

async function endWithin(client: pg.Client, timeoutMs: number): Promise<void> {
  const timeout = setTimeout(() => destroyStream(client), timeoutMs);
  await client.end().catch(() => {});
  clearTimeout(timeout);
}

// Not that of the beginning: with TLS it is another one.
function destroyStream(client: pg.Client): void {
  (client.connection as unknown as { readonly stream: { destroy(): void } }).stream.destroy();
}
