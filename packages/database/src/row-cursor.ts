// A portal that is read in pieces, with a bound on each wait. Around pg-cursor, which would wait forever on a
// connection that broke, and ends the process when a value cannot be read.
import type pg from "pg";
import Cursor from "pg-cursor";

export interface RowCursor {
  /** The next rows; none after the last. */
  read(most: number): Promise<object[]>;
  /** Ends it early, so that the connection can be used again. Rejects when that did not succeed. */
  close(): Promise<void>;
}

/** In pg's words, by which a silent connection is told from other errors. */
export function noAnswer(): Error {
  return new Error("Query read timeout");
}

type RowHandler = (message: unknown) => void;

/** @param timeoutMs how long to wait for rows */
export function openCursor(
  client: pg.ClientBase,
  text: string,
  values: readonly unknown[],
  timeoutMs: number,
): RowCursor {
  const cursor = client.query(new Cursor<object>(text, values as unknown[]));
  const handlers = cursor as unknown as { handleDataRow: RowHandler };
  const handleDataRow = handlers.handleDataRow.bind(cursor);
  let unreadable: unknown;
  handlers.handleDataRow = (message) => {
    try {
      handleDataRow(message);
    } catch (error) {
      unreadable ??= error;
    }
  };
  return {
    async read(most) {
      const rows = await inTime(cursor.read(most), timeoutMs);
      if (unreadable !== undefined) throw unreadable;
      return rows;
    },
    async close() {
      const { promise: ended, resolve } = Promise.withResolvers<void>();
      client.once("end", resolve);
      try {
        const broken = ended.then(() => Promise.reject(new Error("Connection terminated")));
        await inTime(Promise.race([cursor.close(), broken]), timeoutMs);
      } finally {
        client.off("end", resolve);
      }
    },
  };
}

async function inTime<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timeout = setTimeout(() => reject(noAnswer()), timeoutMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timeout);
  }
}
