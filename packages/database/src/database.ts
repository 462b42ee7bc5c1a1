// The application's access to PostgreSQL: a pool of connections in the role ectus_app, one place that every query
// passes, and transactions that see the tenants in scope and nothing else.
import type { Logger } from "@ectus/core";
import { Kysely, PostgresDialect, type PostgresPoolClient, sql, type Transaction } from "kysely";
import pg from "pg";
import { toDatabaseError } from "./database-errors.ts";
import { type Listener, type ListenOptions, listen } from "./listener.ts";
import { appRole } from "./roles.ts";
import type { DB } from "./schema.ts";

/** The reserved tenant that the operator's keys and the platform's audit entries belong to. */
export const platformTenantId = "00000000-0000-0000-0000-000000000000";

/** A query outside of a transaction. With a name it is prepared once a connection. */
export interface Query {
  readonly name?: string;
  readonly text: string;
  readonly values: readonly unknown[];
  /** What it does, in one word or two. */
  readonly operation: string;
}

export type TenantTransaction = Transaction<DB>;

export interface Database {
  /** Runs one query in a transaction of its own. */
  run<Row extends object>(query: Query): Promise<Row[]>;
  /** Runs `work` in a transaction that sees the rows of one tenant. */
  inTenant<T>(tenantId: string, work: (tx: TenantTransaction) => Promise<T>): Promise<T>;
  /** Listens on a connection of its own. */
  listen(options: Omit<ListenOptions, "connect">): Listener;
  /** Resolves when the database answers; rejects with `database_unavailable`. */
  ping(): Promise<void>;
  readonly pool: {
    readonly size: number;
    readonly total: number;
    readonly idle: number;
    readonly waiting: number;
  };
  close(): Promise<void>;
}

export interface DatabaseOptions {
  readonly url: string;
  readonly poolSize: number;
  readonly log: Logger;
}

const connectTimeoutMs = 5_000;
const statementTimeoutMs = 30_000;

const int8Oid = 20;

// bigint as a number: every count here stays far below 2^53, and one that did not must not be rounded in silence.
function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} is out of the safe range`);
  return value;
}

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    oid === int8Oid
      ? parseInt8
      : pg.types.getTypeParser(oid, format as "text")) as typeof pg.types.getTypeParser,
};

export function openDatabase({ url, poolSize, log }: DatabaseOptions): Database {
  const clientOptions: pg.ClientConfig = {
    connectionString: url,
    application_name: "ectus",
    options: `-c role=${appRole} -c statement_timeout=${statementTimeoutMs} -c idle_in_transaction_session_timeout=60000`,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    types,
  };
  const pool = new pg.Pool({ ...clientOptions, max: poolSize, idleTimeoutMillis: 60_000 });
  pool.on("error", (error) => log.warn({ err: error }, "idle database connection lost"));

  async function connect(): Promise<pg.PoolClient> {
    try {
      return await pool.connect();
    } catch (error) {
      throw toDatabaseError(error);
    }
  }

  // The one place that every query passes.
  async function runQuery(client: pg.PoolClient, query: pg.QueryConfig): Promise<pg.QueryResult> {
    try {
      return await client.query(query);
    } catch (error) {
      throw toDatabaseError(error);
    }
  }

  const kysely = new Kysely<DB>({
    dialect: new PostgresDialect({
      pool: {
        connect: async () => {
          const client = await connect();
          return {
            query: (text: string, values: readonly unknown[]) =>
              runQuery(client, { text, values: values as unknown[] }),
            release: () => client.release(),
            // Kysely's interface has a second form for cursors, which this program does not use.
          } as unknown as PostgresPoolClient;
        },
        options: clientOptions,
        end: () => pool.end(),
      },
    }),
  });

  async function run<Row extends object>(query: Query): Promise<Row[]> {
    const client = await connect();
    let failed = true;
    try {
      const { name, text } = query;
      const values = query.values as unknown[];
      const result = await runQuery(client, name === undefined ? { text, values } : { name, text, values });
      failed = false;
      return result.rows as Row[];
    } finally {
      // A connection whose query failed may be broken; a new one costs little.
      client.release(failed);
    }
  }

  return {
    run,
    inTenant: (tenantId, work) =>
      kysely.transaction().execute(async (tx) => {
        await sql`select set_config('ectus.tenants', ${`{${tenantId}}`}, true)`.execute(tx);
        return work(tx);
      }),
    listen: (options) => listen({ ...options, connect: () => new pg.Client(clientOptions) }),
    ping: async () => {
      await run({ name: "ping", text: "select 1", values: [], operation: "ping" });
    },
    get pool() {
      return { size: poolSize, total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount };
    },
    close: () => kysely.destroy(),
  };
}
