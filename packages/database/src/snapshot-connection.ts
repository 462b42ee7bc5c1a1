// A connection outside of the pool that reads a snapshot, from the first packet to the last.
import { EctusError } from "@ectus/core";
import type pg from "pg";
import { copyRows } from "./copy-rows/copy-rows.ts";
import type { Query } from "./database.ts";
import { rowsOf, toDatabaseError } from "./database-errors.ts";
import { cutClient, endClient } from "./end-client.ts";
import { connectionErrorReason } from "./error-reasons.ts";
import type { DatabaseMetrics } from "./metrics.ts";
import { Session } from "./session.ts";
import type { CopyRows, RowBlock, SnapshotReader } from "./snapshot.ts";
import { type StatementKind, setKind } from "./statement-kind.ts";

/** What snapshots need of the database. */
export interface SnapshotConnections {
  /** Makes a client that is not connected yet. */
  readonly createClient: () => pg.Client;
  /** Rejects when it does not have the application's role. */
  readonly checkRole: (client: pg.Client) => Promise<void>;
  /** Ends what the server does for it; resolves within a second or so. */
  readonly cancel: (client: pg.Client) => Promise<void>;
  readonly onLost: (client: pg.Client, error: unknown) => void;
  readonly metrics: DatabaseMetrics;
  /** Runs something outside of the request in progress. */
  readonly outside: <T>(work: () => T) => T;
  /** How much longer than a statement may take to wait for an answer. */
  readonly silenceMs: number;
  /** When the server ends a statement; a day by default. */
  readonly statementTimeoutMs?: number;
  /** How long to wait for the locks of its tables; 10,000 by default. */
  readonly lockTimeoutMs?: number;
}

export interface SnapshotConnection {
  readonly reader: SnapshotReader;
  /** Connects and begins a read-only transaction, which has no snapshot yet. */
  open(): Promise<void>;
  run(kind: StatementKind, text: string, values?: readonly unknown[]): Promise<pg.QueryResult>;
  commit(): Promise<void>;
  /** Rolls back if it was not committed. Idempotent; does not reject. */
  close(): Promise<void>;
}

// The copy of a large table takes hours, and waits for whoever stores it. An export that hangs is ended by its lease; this
// is for a statement that nobody waits for any more.
const defaultStatementTimeoutMs = 86_400_000;

const rollbackTimeoutMs = 1_000;

// How values are written, whatever the settings of the server, database, role or URL are; and since between statements
// the connection may wait for other readers for as long as they take, TCP has to find out whether its peer is there.
function settings(statementTimeoutMs: number): string {
  const values = [
    "application_name to 'ectus-export'",
    "client_encoding to 'UTF8'",
    "timezone to 'UTC'",
    "datestyle to 'ISO, YMD'",
    "intervalstyle to 'postgres'",
    "bytea_output to 'hex'",
    "extra_float_digits to 1",
    // Each reader takes one of the server's processors and no more.
    "max_parallel_workers_per_gather to 0",
    `statement_timeout to ${statementTimeoutMs}`,
    "idle_in_transaction_session_timeout to 0",
    "tcp_keepalives_idle to 30",
    "tcp_keepalives_interval to 10",
    "tcp_keepalives_count to 6",
  ];
  return values.map((value) => `set local ${value}`).join("; ");
}

/**
 * @param stop once it is aborted everything that is under way is ended, and rejects; aborted here by the first error,
 *   which is then the reason of all others
 */
export function snapshotConnection(
  connections: SnapshotConnections,
  stop: AbortController,
): SnapshotConnection {
  const { metrics, outside, silenceMs, statementTimeoutMs = defaultStatementTimeoutMs } = connections;
  const { signal } = stop;
  const client = outside(connections.createClient);
  let isOpen = false;
  let isInTransaction = false;
  let running = 0;
  let canceled: Promise<void> | undefined;
  let closed: Promise<void> | undefined;

  const onLost = (error: unknown): void => {
    // Else it was ended here.
    if (isOpen && !signal.aborted) connections.onLost(client, error);
  };
  const cancel = (): void => {
    canceled ??= outside(() => connections.cancel(client));
  };
  const session = new Session(client as pg.PoolClient, {
    metrics,
    statementTimeoutMs,
    silenceMs,
    cancel,
    onLost: (_, error) => onLost(error),
    release: () => {},
  });

  // pg tells it here, too, if a query was running.
  client.on("error", (error) => {
    if (!isOpen) return;
    onLost(error);
    stop.abort(toDatabaseError(error));
  });
  signal.addEventListener("abort", close);

  async function guard<T>(work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    running += 1;
    try {
      return await work();
    } catch (error) {
      stop.abort(error);
      throw signal.reason;
    } finally {
      running -= 1;
    }
  }

  async function* read(copy: CopyRows): AsyncGenerator<RowBlock, void, undefined> {
    signal.throwIfAborted();
    let wasLeft = true;
    running += 1;
    try {
      yield* copyRows(session, copy, statementTimeoutMs + silenceMs);
      wasLeft = false;
    } catch (error) {
      wasLeft = false;
      stop.abort(error);
      throw signal.reason;
    } finally {
      running -= 1;
      // Later, so that the error for which its reader left is told before this one.
      if (wasLeft) setImmediate(() => stop.abort(new Error("a COPY of a snapshot was not read to its end")));
    }
  }

  async function connect(): Promise<void> {
    try {
      await untilAborted(
        signal,
        outside(() => client.connect()),
      );
      await connections.checkRole(client);
    } catch (error) {
      // An error of this program says what it is by itself.
      if (!signal.aborted && !(error instanceof EctusError))
        metrics.connectionFailed(connectionErrorReason(error));
      throw toDatabaseError(error);
    }
    isOpen = true;
  }

  function close(): Promise<void> {
    closed ??= end();
    return closed;
  }

  async function end(): Promise<void> {
    signal.removeEventListener("abort", close);
    if (!isOpen) {
      cutClient(client);
      return;
    }
    if (isInTransaction) {
      if (running > 0) cancel();
      const cut = setTimeout(() => cutClient(client), rollbackTimeoutMs);
      await session.rollback();
      clearTimeout(cut);
      await canceled;
    }
    await endClient(client);
  }

  return {
    reader: {
      query: <Row extends object>(query: Query) =>
        guard(async () => rowsOf(await session.run(query, query)).rows as Row[]),
      copyRows: read,
    },
    open: () =>
      guard(async () => {
        await connect();
        // Before it begins, since a query would be its first. PostgreSQL has the setting from version 17 on.
        const text =
          "select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout'";
        await session.run(setKind, { text, values: [] });
        isInTransaction = true;
        await session.begin({ isolationLevel: "repeatable read", accessMode: "read only" });
        await session.run(setKind, { text: settings(statementTimeoutMs), values: [] });
      }),
    run: (kind, text, values = []) => guard(() => session.run(kind, { text, values })),
    async commit() {
      await guard(() => session.commit());
      isInTransaction = false;
    },
    close,
  };
}

async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
