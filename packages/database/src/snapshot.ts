// One state of a tenant's data, read by several connections at once, outside of the pool.
import { setTimeout as delay } from "node:timers/promises";
import { EctusError } from "@ectus/core";
import type { Query } from "./database.ts";
import { isDeadlock, isLockTimeout, toDatabaseError } from "./database-errors.ts";
import type { ExportSettings } from "./export-statements.ts";
import { noAnswer } from "./row-cursor.ts";
import {
  type SnapshotConnection,
  type SnapshotConnections,
  snapshotConnection,
} from "./snapshot-connection.ts";
import { type StatementKind, setKind, type TableName } from "./statement-kind.ts";

export interface SnapshotOptions {
  readonly tenantId: string;
  /** Tables that are locked against being rewritten or truncated before the snapshot is taken. */
  readonly tables: readonly Exclude<TableName, "jobs" | "none">[];
  /** How many connections read it; one at least. */
  readonly readers: number;
  /** Ends all of them. */
  readonly signal?: AbortSignal;
}

export interface Snapshot {
  /** When it was taken. */
  readonly takenAt: Date;
  readonly readers: readonly [SnapshotReader, ...SnapshotReader[]];
}

/** A connection on the snapshot. It does one thing at a time. */
export interface SnapshotReader {
  query<Row extends object>(query: Query): Promise<Row[]>;
  /** Rows of a `copy … to stdout`, in blocks. To be read to its end; one that is left ends the snapshot. */
  copyRows(copy: CopyRows): AsyncIterable<RowBlock>;
}

export interface CopyRows {
  readonly text: string;
  readonly table: TableName;
  /** Set before it, for the transaction. */
  readonly settings: ExportSettings;
  /** What the statement gives: CSV, or one field a row in the binary format. */
  readonly format: "csv" | "ndjson";
  /** A block ends with the first row that fills it so far, or that is larger than it. */
  readonly blockBytes: number;
}

/**
 * Rows as they are in a part, each with its line end: \n in NDJSON, \r\n in CSV. Which rows a block has depends on the
 * rows alone, and not on how they came.
 */
export interface RowBlock {
  /** The caller's until it is released. */
  readonly bytes: Buffer;
  /** Rows that end in it. */
  readonly rows: number;
  /** Sum modulo 2^64 of the digests of the rows that end in it. */
  readonly digest: bigint;
  /** False for a piece of a row that is larger than a block: there can be no cut after it. */
  readonly endsRow: boolean;
  /** The beginning, at most 4,096 bytes, of the last row that ends in it. */
  readonly lastRow: Buffer;
  /** Gives the memory of the block, `lastRow` with it, back to be filled again. One that is not released is kept. */
  release(): void;
}

// A migration that waits for a lock gives up after some seconds, and one that has it is done in a few.
const defaultLockTimeoutMs = 10_000;
// Once the tables are locked there is little left to wait for, such as an index that is built anew.
const laterLockTimeoutMs = 300_000;
// Connections, the wait for locks, and a few short statements.
const openTimeoutMs = 30_000;
const mostAttempts = 5;
const pauseMs = 200;

const lockKind: StatementKind = { operation: "lock", table: "none" };
const snapshotKind: StatementKind = { operation: "snapshot", table: "none" };

const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;
const snapshotId = /^[\dA-F]+-[\dA-F]+-\d+$/;
const tableName = /^[a-z_]+$/;

/**
 * Runs `work` on a snapshot, and closes it. The first error, whether in a reader or of `work`, ends what the readers do,
 * and is what all of that rejects with.
 */
export async function inSnapshot<T>(
  connections: SnapshotConnections,
  options: SnapshotOptions,
  work: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  check(options);
  const { signal } = options;
  const attempted = await openSnapshot(connections, options);
  const { stop, readers } = attempted;
  const abort = (): void => stop.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  try {
    signal?.throwIfAborted();
    const result = await work(attempted.snapshot);
    stop.signal.throwIfAborted();
    await Promise.all(readers.map((reader) => reader.commit()));
    return result;
  } catch (error) {
    stop.abort(error);
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
    await closeAll(readers);
  }
}

function check({ tenantId, tables, readers }: SnapshotOptions): void {
  // A comma in it would put a second tenant in scope.
  if (!uuid.test(tenantId)) throw new TypeError(`not a tenant's id: ${tenantId}`);
  const strange = tables.find((table) => !tableName.test(table));
  if (strange !== undefined) throw new TypeError(`not the name of a table: ${strange}`);
  if (!Number.isSafeInteger(readers) || readers < 1)
    throw new RangeError(`a snapshot has no ${readers} readers`);
}

interface OpenSnapshot {
  readonly snapshot: Snapshot;
  readonly stop: AbortController;
  readonly readers: readonly SnapshotConnection[];
}

/** As often as somebody else's locks are in the way. */
async function openSnapshot(
  connections: SnapshotConnections,
  options: SnapshotOptions,
): Promise<OpenSnapshot> {
  const { signal } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryToOpen(connections, options);
    } catch (error) {
      if (!isLockTimeout(error) && !isDeadlock(error)) throw error;
      if (attempt === mostAttempts)
        throw new EctusError(
          "database_unavailable",
          {
            reason: `The tables are being changed, as by a migration: they could not be locked for reading in ${mostAttempts} attempts`,
            retryAfterSeconds: 10,
          },
          { cause: error },
        );
      await delay(pauseMs * attempt, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}

async function tryToOpen(
  connections: SnapshotConnections,
  { tenantId, tables, readers: count, signal }: SnapshotOptions,
): Promise<OpenSnapshot> {
  signal?.throwIfAborted();
  const { lockTimeoutMs = defaultLockTimeoutMs } = connections;
  const stop = new AbortController();
  const abort = (): void => stop.abort(signal?.reason);
  const timeUp = setTimeout(() => stop.abort(toDatabaseError(noAnswer())), openTimeoutMs);
  signal?.addEventListener("abort", abort);
  const first = snapshotConnection(connections, stop);
  const others = Array.from({ length: count - 1 }, () => snapshotConnection(connections, stop));
  const readers = [first, ...others] as const;
  const names = tables.map((name) => `"${name}"`).join(", ");
  const lock = async (reader: SnapshotConnection, end = ""): Promise<void> => {
    if (names !== "") await reader.run(lockKind, `lock table ${names} in access share mode${end}`);
  };

  try {
    await Promise.all(readers.map((reader) => reader.open()));
    await first.run(setKind, `set local lock_timeout to ${lockTimeoutMs}`);
    // Before there is a snapshot: a table that is truncated or rewritten after it would look empty in it.
    await lock(first);
    const { id, takenAt } = await takeSnapshot(first, tenantId);
    await Promise.all(
      others.map(async (reader) => {
        await reader.run(setKind, `set transaction snapshot '${id}'`);
        // Who waits for a lock that the first one is in the way of would be waited for here, and that without end, since
        // the first one waits for this. So it is with pg_dump's workers, too.
        await lock(reader, " nowait");
        await reader.run(setKind, setScope, scope(tenantId));
      }),
    );
    return {
      stop,
      readers,
      snapshot: { takenAt, readers: [first.reader, ...others.map(({ reader }) => reader)] },
    };
  } catch (error) {
    stop.abort(error);
    await closeAll(readers);
    throw stop.signal.reason;
  } finally {
    clearTimeout(timeUp);
    signal?.removeEventListener("abort", abort);
  }
}

const setScope =
  "select set_config('ectus.tenants', $1, true), set_config('ectus.export_tenant', $2, true), set_config('lock_timeout', $3, true)";
const scope = (tenantId: string): readonly string[] => [
  `{${tenantId}}`,
  tenantId,
  String(laterLockTimeoutMs),
];

async function takeSnapshot(
  reader: SnapshotConnection,
  tenantId: string,
): Promise<{ id: string; takenAt: Date }> {
  const text = `${setScope}, pg_export_snapshot() as id, clock_timestamp() as taken_at`;
  const { rows } = await reader.run(snapshotKind, text, scope(tenantId));
  const { id, taken_at } = rows[0] as { readonly id: string; readonly taken_at: Date };
  // It cannot be a parameter.
  if (!snapshotId.test(id)) throw new TypeError(`not the id of a snapshot: ${id}`);
  return { id, takenAt: taken_at };
}

async function closeAll(readers: readonly SnapshotConnection[]): Promise<void> {
  await Promise.all(readers.map((reader) => reader.close()));
}
