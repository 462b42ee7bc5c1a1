// A connection of the pool in use: the one place that every statement passes, whether it comes from Kysely, as text,
// as a cursor or as a COPY. Here it is measured, its errors are translated, and it is known whether the connection may
// be used again.
import { AsyncLocalStorage } from "node:async_hooks";
import { currentSpan, type Span } from "@ectus/monitoring";
import type {
  AbortableOperationOptions,
  CompiledQuery,
  DatabaseConnection,
  QueryResult,
  TransactionSettings,
} from "kysely";
import pg from "pg";
import { isConnectionError, toDatabaseError } from "./database-errors.ts";
import type { StatementParents } from "./database-spans.ts";
import {
  lostConnectionReason,
  type StatementErrorReason,
  type StatementFailure,
  statementFailure,
} from "./error-reasons.ts";
import type { DatabaseMetrics, RunningTransaction, TransactionOutcome } from "./metrics.ts";
import { openCursor } from "./row-cursor.ts";
import { beginKind, commitKind, kindOf, rollbackKind, type StatementKind } from "./statement-kind.ts";

export interface SessionOptions {
  readonly metrics: DatabaseMetrics;
  /** When the server ends a statement. */
  readonly statementTimeoutMs: number;
  /** How much longer to wait for an answer: the connection may be silent. */
  readonly silenceMs: number;
  /** Ends what the server does for the connection, which is not used any more then, in the background. */
  readonly cancel: (client: pg.PoolClient) => void;
  readonly onLost: (client: pg.PoolClient, error: unknown) => void;
  /** Gives the connection back, to be closed or to be used again. */
  readonly release: (client: pg.PoolClient, isBroken: boolean) => void;
}

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
  /** With a name it is prepared once a connection. */
  readonly name?: string;
  readonly timeoutMs?: number;
  /**
   * If it does the work of several requests, or of others than that in progress: the span of each, under which it is
   * recorded.
   */
  readonly sharedBy?: readonly (Span | undefined)[];
}

/** A connection that a statement has for itself while its answer is read. Of its three ends the first call counts. */
export interface HeldConnection {
  readonly client: pg.PoolClient;
  /** It was read to its end. */
  end(): void;
  /** It failed. Gives the error as the rest of the program should see it. */
  fail(error: unknown, timeoutMs?: number): unknown;
  /** Nobody reads the rest. Has the server end it; the connection is not used any more, because of `fault`. */
  leave(reason: StatementErrorReason, fault?: Error): void;
}

const changes = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"]);

/** A statement whose answer is still being read. */
interface Reading {
  /** Stops it; the connection is not used any more. */
  abandon(): void;
}

export class Session implements DatabaseConnection {
  readonly #client: pg.PoolClient;
  readonly #options: SessionOptions;
  /** Why the connection answers no more. */
  #fault: unknown;
  /** Closed instead of used again. */
  #isDoubtful = false;
  #reading: Reading | undefined;
  /** Undefined outside of a transaction, or once its outcome is known. */
  #transaction: RunningTransaction | undefined;

  constructor(client: pg.PoolClient, options: SessionOptions) {
    this.#client = client;
    this.#options = options;
  }

  async run(kind: StatementKind, statement: Statement): Promise<pg.QueryResult> {
    this.#refuseIfBusy();
    const { text, values, name, timeoutMs, sharedBy } = statement;
    const { metrics, statementTimeoutMs, silenceMs } = this.#options;
    // pg's own timeout for all queries would also end cursors and COPY.
    const query: pg.QueryConfig & { readonly query_timeout: number } = {
      text,
      values: values as unknown[],
      query_timeout: timeoutMs ?? statementTimeoutMs + silenceMs,
    };
    if (name !== undefined) query.name = name;
    const startedMs = performance.now();
    let result: pg.QueryResult;
    try {
      result = await this.#client.query(query);
    } catch (error) {
      const failure = this.#judge(error, startedMs);
      metrics.statementEnded(kind, startedMs, text, sharedBy ?? this.#parent(), failure);
      throw toDatabaseError(error);
    }
    metrics.statementEnded(kind, startedMs, text, sharedBy ?? this.#parent());
    return result;
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const { command, rowCount, rows } = await this.run(kindOf(query), {
      text: query.sql,
      values: query.parameters,
    });
    return changes.has(command) ? { numAffectedRows: BigInt(rowCount ?? 0), rows } : { rows };
  }

  /**
   * Reads rows in pieces, for `stream()` of Kysely. The server ends it after the time that a statement may take, that of
   * its reader included. Other statements of the transaction wait in Kysely until it was read.
   */
  async *streamQuery<R>(
    query: CompiledQuery,
    chunkSize: number,
    { signal }: AbortableOperationOptions = {},
  ): AsyncIterableIterator<QueryResult<R>> {
    this.#refuseIfBusy();
    const { statementTimeoutMs, silenceMs } = this.#options;
    const cursor = openCursor(this.#client, query.sql, query.parameters, statementTimeoutMs + silenceMs);
    const kind: StatementKind = { operation: "cursor", table: kindOf(query).table };
    const startedMs = performance.now();
    let isWaiting = false;
    const end = this.#startReading(kind, query.sql, startedMs, {
      abandon: () => {
        this.#fault ??= notRead();
        if (isWaiting) this.#options.cancel(this.#client);
        end({ reason: signal?.aborted ? "canceled" : "abandoned" });
      },
    });
    const abort = (): void => this.#reading?.abandon();
    signal?.addEventListener("abort", abort);
    // Whether the server has closed it, or never will.
    let isOver = false;
    try {
      for (;;) {
        isWaiting = true;
        const rows = await cursor.read(chunkSize);
        isWaiting = false;
        if (rows.length === 0) break;
        yield { rows: rows as R[] };
      }
      isOver = true;
      end();
    } catch (error) {
      const failure = this.#judge(error, startedMs);
      isOver = this.#fault !== undefined || error instanceof pg.DatabaseError;
      end(failure);
      // Kysely has told it already.
      if (!signal?.aborted) throw toDatabaseError(error);
    } finally {
      signal?.removeEventListener("abort", abort);
      end({ reason: "abandoned" });
      // Its reader has left, or could not read a value.
      if (!isOver && this.#fault === undefined)
        await cursor.close().catch((error) => void this.#judge(error, startedMs));
    }
  }

  /**
   * Begins a statement whose answer somebody else takes from the connection. Until it has ended there can be no other.
   * `abandon` is called when the transaction ends before.
   */
  beginReading(kind: StatementKind, text: string, abandon: () => void): HeldConnection {
    this.#refuseIfBusy();
    const startedMs = performance.now();
    const end = this.#startReading(kind, text, startedMs, { abandon });
    return {
      client: this.#client,
      end: () => void end(),
      fail: (error, timeoutMs) => {
        end(this.#judge(error, startedMs, timeoutMs));
        return toDatabaseError(error);
      },
      leave: (reason, fault = notRead()) => {
        if (!end({ reason })) return;
        this.#fault ??= fault;
        this.#options.cancel(this.#client);
      },
    };
  }

  async begin({ isolationLevel, accessMode }: TransactionSettings): Promise<void> {
    this.#transaction = this.#options.metrics.transactionBegun();
    const isolation = isolationLevel === undefined ? "" : ` isolation level ${isolationLevel}`;
    const access = accessMode === undefined ? "" : ` ${accessMode}`;
    try {
      await this.run(beginKind, { text: `begin${isolation}${access}`, values: [] });
    } catch (error) {
      this.#endTransaction("failed");
      throw error;
    }
  }

  async commit(): Promise<void> {
    try {
      const { command } = await this.run(commitKind, { text: "commit", values: [] });
      // So the server answers when a statement failed and nobody minded.
      // Kysely's own error for it would have a transaction around this one taken for ended, too.
      if (command === "ROLLBACK")
        throw new Error("a statement had failed, and the transaction was rolled back instead of committed");
    } catch (error) {
      this.#endTransaction("failed");
      throw error;
    }
    this.#endTransaction("committed");
  }

  /** Does not reject: what made the transaction fail is the error to tell, and a closed connection rolls back, too. */
  async rollback(): Promise<void> {
    this.#reading?.abandon();
    const isOpen = this.#fault === undefined && this.#client.getTransactionStatus() !== "I";
    try {
      if (isOpen) await this.run(rollbackKind, { text: "rollback", values: [] });
      this.#endTransaction(isOpen ? "rolled_back" : "failed");
    } catch {
      this.doubt();
      this.#endTransaction("failed");
    }
  }

  /** Has the connection closed instead of used again. */
  doubt(): void {
    this.#isDoubtful = true;
  }

  release(): void {
    this.#reading?.abandon();
    // A transaction that is still open would be the next one's, with its tenants in scope.
    const isBroken =
      this.#isDoubtful || this.#fault !== undefined || this.#client.getTransactionStatus() !== "I";
    this.#options.release(this.#client, isBroken);
  }

  #endTransaction(outcome: TransactionOutcome): void {
    if (this.#transaction !== undefined) this.#options.metrics.transactionEnded(outcome, this.#transaction);
    this.#transaction = undefined;
  }

  /** What a statement of it is recorded under. */
  #parent(): StatementParents {
    return this.#transaction?.span ?? currentSpan();
  }

  // The statement would wait for a reader that may be waiting for it.
  #refuseIfBusy(): void {
    if (this.#fault !== undefined) throw toDatabaseError(this.#fault);
    if (this.#reading !== undefined) throw notRead();
  }

  /** Gives a function to call at the end; the first call counts, and returns true. */
  #startReading(
    kind: StatementKind,
    text: string,
    startedMs: number,
    reading: Reading,
  ): (failure?: StatementFailure) => boolean {
    this.#reading = reading;
    const { metrics } = this.#options;
    // It may be read to its end by others.
    const parent = this.#parent();
    // Events of the connection come in the context in which it was made.
    return AsyncLocalStorage.bind((failure?: StatementFailure) => {
      if (this.#reading !== reading) return false;
      this.#reading = undefined;
      metrics.statementEnded(kind, startedMs, text, parent, failure);
      return true;
    });
  }

  /** Why a statement failed, and what that means for the connection. */
  #judge(error: unknown, startedMs: number, timeoutMs = this.#options.statementTimeoutMs): StatementFailure {
    if (isConnectionError(error)) {
      // Else it ended because the session has given it up.
      if (this.#fault === undefined) {
        this.#fault = error;
        this.#options.onLost(this.#client, error);
        // The server does not notice by itself that nobody waits any more.
        if (lostConnectionReason(error) === "timeout") this.#options.cancel(this.#client);
      }
    } else if (!(error instanceof pg.DatabaseError)) {
      this.doubt();
    }
    return statementFailure(error, performance.now() - startedMs >= timeoutMs);
  }
}

function notRead(): Error {
  return new Error("a cursor or COPY of this transaction must be read to its end before the next statement");
}
