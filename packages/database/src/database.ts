// The application's access to PostgreSQL: a pool of connections in the role ectus_app, one place that every query
// passes, and transactions that see the tenants in scope and nothing else.
import { setTimeout as delay } from "node:timers/promises";
import { EctusError, type Logger } from "@ectus/core";
import { Kysely, PostgresDialect, type PostgresPoolClient, sql, type Transaction } from "kysely";
import pg from "pg";
import { isConnectionError, rowsOf, toDatabaseError } from "./database-errors.ts";
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
  /** How long to wait for an answer; longer than a statement may take by default. */
  readonly timeoutMs?: number;
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
  /** How long a query waits for a free connection, and a connection or a ping for the server; 5,000 by default. */
  readonly connectTimeoutMs?: number;
  /** When the server ends a statement; 30,000 by default. */
  readonly statementTimeoutMs?: number;
}

const defaultConnectTimeoutMs = 5_000;
const defaultStatementTimeoutMs = 30_000;
// The server ends a statement by itself; this is for a connection that is silent.
const silenceMs = 5_000;

// A connection that is silent does not hold up the end.
const closeWaitMs = 1_000;

const int8Oid = 20;
const dateOid = 1082;

// bigint as a number: every count here stays far below 2^53, and one that did not must not be rounded in silence.
function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} is out of the safe range`);
  return value;
}

// A date has no time zone; pg would make a local midnight of it.
const parsers: Readonly<Record<number, (text: string) => unknown>> = {
  [int8Oid]: parseInt8,
  [dateOid]: (text) => text,
};

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") =>
    parsers[oid] ?? pg.types.getTypeParser(oid, format as "text")) as typeof pg.types.getTypeParser,
};

export function openDatabase(options: DatabaseOptions): Database {
  const { poolSize, log } = options;
  const connectionTimeoutMillis = options.connectTimeoutMs ?? defaultConnectTimeoutMs;
  const statementTimeoutMs = options.statementTimeoutMs ?? defaultStatementTimeoutMs;
  const clientOptions: pg.ClientConfig = {
    connectionString: withSessionOptions(options.url, [
      `-c role=${appRole}`,
      "-c search_path=public",
      `-c statement_timeout=${statementTimeoutMs}`,
      "-c idle_in_transaction_session_timeout=60000",
    ]),
    application_name: "ectus",
    connectionTimeoutMillis,
    query_timeout: statementTimeoutMs + silenceMs,
    keepAlive: true,
    types,
  };
  const pool = new pg.Pool({
    ...clientOptions,
    max: poolSize,
    idleTimeoutMillis: 60_000,
    onConnect: checkRole,
  });
  let closing = false;
  pool.on("error", (error) => {
    if (!closing) log.warn({ err: error }, "idle database connection lost");
  });
  // The pool's end does not wait for the ends of its connections. Those that were still open would be cut off by a
  // server that is stopped right after.
  const ends = new Set<Promise<void>>();
  pool.on("connect", (client) => {
    const end = new Promise<void>((resolve) => {
      client.once("end", () => {
        ends.delete(end);
        resolve();
      });
    });
    ends.add(end);
  });
  // While a connection is in use its pool does not listen. That it broke between two queries of a transaction is told
  // by the second one, and must not end the process.
  pool.on("connect", (client) => client.on("error", () => {}));

  // Connections that go back to the pool to be closed: a query on them got no whole answer.
  const unusable = new WeakSet<pg.PoolClient>();

  async function connect(): Promise<pg.PoolClient> {
    try {
      return await pool.connect();
    } catch (error) {
      const exhausted = pool.totalCount >= poolSize && pool.idleCount === 0 && isQueueTimeout(error);
      if (!exhausted) throw toDatabaseError(error);
      throw new EctusError(
        "database_unavailable",
        {
          reason: `All ${poolSize} database connections were busy for ${connectionTimeoutMillis} ms`,
          retryAfterSeconds: 2,
        },
        { cause: error },
      );
    }
  }

  // The one place that every query passes.
  async function runQuery(client: pg.PoolClient, query: pg.QueryConfig): Promise<pg.QueryResult> {
    try {
      return await client.query(query);
    } catch (error) {
      if (!isRefusal(error)) unusable.add(client);
      throw toDatabaseError(error);
    }
  }

  function release(client: pg.PoolClient): void {
    // A transaction that is still open would be the next one's, with its tenants in scope.
    client.release(unusable.has(client) || client.getTransactionStatus() !== "I");
  }

  const kysely = new Kysely<DB>({
    dialect: new PostgresDialect({
      pool: {
        connect: async () => {
          const client = await connect();
          return {
            query: (text: string, values: readonly unknown[]) =>
              runQuery(client, { text, values: values as unknown[] }),
            release: () => release(client),
            // Kysely's interface has a second form for cursors, which this program does not use.
          } as unknown as PostgresPoolClient;
        },
        options: clientOptions,
        end: async () => {},
      },
    }),
  });

  async function run<Row extends object>({ name, text, values, timeoutMs }: Query): Promise<Row[]> {
    const client = await connect();
    try {
      const result = await runQuery(client, {
        text,
        values: values as unknown[],
        ...(name === undefined ? {} : { name }),
        ...(timeoutMs === undefined ? {} : { query_timeout: timeoutMs }),
      });
      return rowsOf(result).rows as Row[];
    } catch (error) {
      // Several statements in one text may have begun a transaction.
      if (values.length === 0) unusable.add(client);
      throw error;
    } finally {
      release(client);
    }
  }

  return {
    run,
    inTenant: async (tenantId, work) => {
      // A comma in it would put a second tenant in scope.
      if (!uuid.test(tenantId)) throw new TypeError(`not a tenant's id: ${tenantId}`);
      return kysely.transaction().execute(async (tx) => {
        await sql`select set_config('ectus.tenants', ${`{${tenantId}}`}, true)`.execute(tx);
        return work(tx);
      });
    },
    listen: (options) => listen({ ...options, connect: () => new pg.Client(clientOptions) }),
    ping: async () => {
      const timeoutMs = connectionTimeoutMillis;
      await run({ name: "ping", text: "select 1", values: [], operation: "ping", timeoutMs });
    },
    get pool() {
      return { size: poolSize, total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount };
    },
    async close() {
      closing = true;
      // Kysely would end the pool only if it was used.
      await pool.end();
      const timeUp = new AbortController();
      await Promise.race([
        Promise.allSettled(ends),
        delay(closeWaitMs, undefined, { signal: timeUp.signal }).catch(() => {}),
      ]);
      timeUp.abort();
    },
  };
}

const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** The URL with options of the session added; a URL's own would otherwise replace them, the role with them. */
function withSessionOptions(url: string, options: readonly string[]): string {
  const changed = new URL(url);
  const own = changed.searchParams.get("options");
  changed.searchParams.set("options", [...(own === null ? [] : [own]), ...options].join(" "));
  return changed.href;
}

// A connection pooler may drop the options of a session. Row security must not hang on that.
async function checkRole(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query("select current_user as role");
  if (rows[0].role !== appRole) {
    throw new EctusError("schema_mismatch", {
      reason: `the session runs as ${rows[0].role} and not as ${appRole}. Let DATABASE_URL log in as ${appRole}, or connect without a pooler that drops session options.`,
    });
  }
}

/** Whether the server answered and said no: the connection is as good as before. */
function isRefusal(error: unknown): boolean {
  return error instanceof pg.DatabaseError && !isConnectionError(error);
}

function isQueueTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === "timeout exceeded when trying to connect";
}
