// The application's access to PostgreSQL: a pool of connections in the role ectus_app, one place that every query
// passes, and transactions that see the tenants in scope and nothing else.
import { AsyncLocalStorage } from "node:async_hooks";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { EctusError, type Logger } from "@ectus/core";
import { currentSpan, type Instruments, noInstruments, type Span } from "@ectus/monitoring";
import { Kysely, type Transaction } from "kysely";
import pg from "pg";
import { sendCancelRequest } from "./cancel-request.ts";
import { type CopyOut, copyOut } from "./copy-out.ts";
import { createReadSocket } from "./copy-rows/read-socket.ts";
import { rowsOf, toDatabaseError } from "./database-errors.ts";
import { databaseAttributes, type ServerAddress, type StatementParents } from "./database-spans.ts";
import { cutClient } from "./end-client.ts";
import { connectionErrorReason, lostConnectionReason } from "./error-reasons.ts";
import { sessionDialect } from "./kysely-dialect.ts";
import { type Listener, type ListenOptions, listen } from "./listener.ts";
import { databaseMetrics } from "./metrics.ts";
import { appRole } from "./roles.ts";
import type { DB } from "./schema.ts";
import { Session, type SessionOptions } from "./session.ts";
import { checkRole, withSessionOptions } from "./session-role.ts";
import { inSnapshot, type Snapshot, type SnapshotOptions } from "./snapshot.ts";
import type { SnapshotConnections } from "./snapshot-connection.ts";
import { queryOfKind, setKind, type TableName } from "./statement-kind.ts";

/** The reserved tenant that the operator's keys and the platform's audit entries belong to. */
export const platformTenantId = "00000000-0000-0000-0000-000000000000";

/** A query outside of a transaction. With a name it is prepared once a connection. */
export interface Query {
  readonly name?: string;
  readonly text: string;
  readonly values: readonly unknown[];
  /** What it does, in one word or two; the name of the function that it calls. */
  readonly operation: string;
  /** The table that it is about, or none. */
  readonly table: TableName;
  /** How long to wait for an answer; longer than a statement may take by default. */
  readonly timeoutMs?: number;
  /**
   * If it does the work of several requests, or of others than that in progress: the span of each, under which it is
   * recorded.
   */
  readonly sharedBy?: readonly (Span | undefined)[];
}

export type TenantTransaction = Transaction<DB>;

export interface Database {
  /** Runs one query in a transaction of its own. */
  run<Row extends object>(query: Query): Promise<Row[]>;
  /**
   * Runs `work` in a transaction that sees the rows of one tenant. A statement of it waits until a cursor of it
   * (`stream()`) was read: one that the reader of the cursor waits for never comes.
   */
  inTenant<T>(tenantId: string, work: (tx: TenantTransaction) => Promise<T>): Promise<T>;
  /**
   * What a COPY gives, within a transaction of `inTenant`. To be read to its end before the next statement: one that is
   * left ends the transaction and its connection, and so does the abort of the signal.
   */
  copyOut(tx: TenantTransaction, copy: CopyOut): Promise<Readable>;
  /**
   * Runs `work` on one state of a tenant's rows, which several connections outside of the pool read at once. What
   * happens meanwhile is not in it, and no table of it is changed otherwise than by rows.
   */
  inSnapshot<T>(options: SnapshotOptions, work: (snapshot: Snapshot) => Promise<T>): Promise<T>;
  /** Listens on a connection of its own. */
  listen(options: Omit<ListenOptions, "connect" | "onLost">): Listener;
  /** Resolves when the database answers; rejects with `database_unavailable`. */
  ping(): Promise<void>;
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
  /** Where statements, transactions and the pool are measured; nowhere by default. */
  readonly instruments?: Instruments;
  /** Statements that take longer are counted and logged, and have a trace kept; 500 by default. */
  readonly slowQueryMs?: number;
}

const defaultConnectTimeoutMs = 5_000;
const defaultStatementTimeoutMs = 30_000;
const defaultSlowQueryMs = 500;
// The server ends a statement by itself; this is for a connection that is silent.
const silenceMs = 5_000;

// The connection whose statement it ends is closed after it.
const cancelTimeoutMs = 1_000;

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
  // Connections and the timers of their pool outlive the request that they were made for: what happens on them is not
  // its doing, and its trace must not be held for as long.
  const outside = AsyncLocalStorage.snapshot();
  const { poolSize, log, instruments = noInstruments, slowQueryMs = defaultSlowQueryMs } = options;
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
    keepAlive: true,
    types,
  };
  const pool = new pg.Pool({
    ...clientOptions,
    max: poolSize,
    idleTimeoutMillis: 60_000,
    onConnect: (client) => checkRole(client, connectionTimeoutMillis),
  });
  const metrics = databaseMetrics({
    instruments,
    // What pg makes of the URL and the environment.
    attributes: databaseAttributes(new pg.Client(clientOptions) as ServerAddress),
    slowQueryMs,
    log,
  });
  const hidePool = metrics.showPool(pool);
  let closing = false;
  pool.on("error", (error) => {
    if (!closing) log.warn({ err: error }, "idle database connection lost");
  });
  // The pool's end does not wait for the ends of its connections. Those that were still open would be cut off by a
  // server that is stopped right after.
  const ends = new Set<Promise<void>>();
  const connected = new Set<pg.Client>();
  pool.on("connect", (client) => {
    connected.add(client);
    const end = new Promise<void>((resolve) => {
      client.once("end", () => {
        connected.delete(client);
        ends.delete(end);
        resolve();
      });
    });
    ends.add(end);
  });
  // While a connection is in use its pool does not listen. That it broke between two queries of a transaction is told
  // by the second one, and must not end the process.
  pool.on("connect", (client) => client.on("error", (error) => onLost(client, error)));

  const lost = new WeakSet<pg.Client>();
  // Each connection that broke counts once, however many say so.
  function onLost(client: pg.Client, error: unknown): void {
    if (closing || lost.has(client)) return;
    lost.add(client);
    metrics.connectionFailed(lostConnectionReason(error));
  }

  function cancel(client: pg.Client): Promise<void> {
    const sent = sendCancelRequest(client, clientOptions, cancelTimeoutMs).finally(() => ends.delete(sent));
    ends.add(sent);
    return sent;
  }

  const sessionOptions: SessionOptions = {
    metrics,
    statementTimeoutMs,
    silenceMs,
    cancel: (client) => void cancel(client),
    onLost,
    release: (client, isBroken) => outside(() => client.release(isBroken)),
  };

  async function acquire(sharedBy?: StatementParents): Promise<Session> {
    const startedMs = performance.now();
    try {
      const client = await outside(() => pool.connect());
      metrics.waited(startedMs, sharedBy ?? currentSpan());
      return new Session(client, sessionOptions);
    } catch (error) {
      if (closing) throw toDatabaseError(error);
      const exhausted = pool.totalCount >= poolSize && pool.idleCount === 0 && isQueueTimeout(error);
      const reason = exhausted ? "pool_exhausted" : connectionErrorReason(error);
      metrics.waited(startedMs, sharedBy ?? currentSpan(), reason);
      metrics.connectionFailed(reason);
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

  const closed = new AbortController();
  const snapshots: SnapshotConnections = {
    createClient: () =>
      new pg.Client({ ...clientOptions, keepAliveInitialDelayMillis: 10_000, stream: createReadSocket }),
    checkRole: (client) => checkRole(client, connectionTimeoutMillis),
    cancel,
    onLost,
    metrics,
    outside,
    silenceMs,
  };

  const kysely = new Kysely<DB>({ dialect: sessionDialect(acquire) });

  async function run<Row extends object>(query: Query): Promise<Row[]> {
    const session = await acquire(query.sharedBy);
    try {
      return rowsOf(await session.run(query, query)).rows as Row[];
    } catch (error) {
      // Several statements in one text may have begun a transaction.
      if (query.values.length === 0) session.doubt();
      throw error;
    } finally {
      session.release();
    }
  }

  return {
    run,
    inTenant: async (tenantId, work) => {
      // A comma in it would put a second tenant in scope.
      if (!uuid.test(tenantId)) throw new TypeError(`not a tenant's id: ${tenantId}`);
      return kysely.transaction().execute(async (tx) => {
        await tx.executeQuery(queryOfKind(setKind, setTenants, [`{${tenantId}}`]));
        return work(tx);
      });
    },
    copyOut: (tx, copy) =>
      tx.getExecutor().provideConnection((connection) => copyOut(connection as Session, copy, silenceMs)),
    inSnapshot: (options, work) => {
      const { signal } = options;
      const either = signal === undefined ? closed.signal : AbortSignal.any([signal, closed.signal]);
      return inSnapshot(snapshots, { ...options, signal: either }, work);
    },
    listen: (listening) =>
      listen({
        ...listening,
        connect: () => new pg.Client(clientOptions),
        onLost: (reason) => metrics.connectionFailed(reason),
      }),
    ping: async () => {
      const timeoutMs = connectionTimeoutMillis;
      await run({ name: "ping", text: "select 1", values: [], operation: "ping", table: "none", timeoutMs });
    },
    async close() {
      closing = true;
      closed.abort(toDatabaseError(new Error("Client was closed and is not queryable")));
      hidePool();
      // Kysely would end the pool only if it was used.
      await pool.end();
      const timeUp = new AbortController();
      await Promise.race([
        Promise.allSettled(ends),
        delay(closeWaitMs, undefined, { signal: timeUp.signal }).catch(() => {}),
      ]);
      timeUp.abort();
      // The goodbye to a peer that is silent would keep the process.
      for (const client of connected) cutClient(client);
    },
  };
}

const setTenants = "select set_config('ectus.tenants', $1, true)";
const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

function isQueueTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === "timeout exceeded when trying to connect";
}
