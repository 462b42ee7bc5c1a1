// A COPY of a transaction of the pool, as a stream of bytes.
import { addAbortSignal, finished, type Readable } from "node:stream";
import { type CopyToStreamQuery, to as copyTo } from "pg-copy-streams";
import { noAnswer } from "./row-cursor.ts";
import type { HeldConnection, Session } from "./session.ts";
import { setKind, type TableName } from "./statement-kind.ts";

/** A `copy … to stdout`. It takes no parameters. */
export interface CopyOut {
  readonly text: string;
  readonly table: TableName;
  /**
   * How long it may take, also because of a slow reader; an hour by default. So long the server lets later statements of
   * the transaction take, too.
   */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const defaultCopyTimeoutMs = 3_600_000;
const longestTimerMs = 2 ** 31 - 1;

/**
 * What a COPY gives. To be read to its end before the next statement: one that is left ends the transaction and its
 * connection, and so does the abort of the signal.
 *
 * @param silenceMs how much longer to wait than the server takes to end it
 */
export async function copyOut(
  session: Session,
  { text, table, timeoutMs = defaultCopyTimeoutMs, signal }: CopyOut,
  silenceMs: number,
): Promise<Readable> {
  signal?.throwIfAborted();
  await session.run(setKind, {
    text: "select set_config('statement_timeout', $1, true)",
    values: [String(timeoutMs)],
  });
  signal?.throwIfAborted();
  const copy: CopyToStreamQuery = copyTo(text);
  const held: HeldConnection = session.beginReading({ operation: "copy", table }, text, () => {
    held.leave("abandoned");
    copy.destroy();
  });
  // pg calls it with what the server said, and when the connection broke. That of pg-copy-streams leaves the stream
  // open.
  const handleError = (error: Error): void => {
    copy.destroy(held.fail(error, timeoutMs) as Error);
  };
  Object.assign(copy, { handleError });
  const timeUp = (): void => {
    if (copy.readableLength === 0) {
      handleError(noAnswer());
      return;
    }
    // It is the reader that is silent; so the server cannot send its error either.
    const late = new Error(`what a COPY gave was not read within ${timeoutMs} ms`);
    held.leave("timeout", late);
    copy.destroy(late);
  };
  const timeout = setTimeout(timeUp, Math.min(timeoutMs + silenceMs, longestTimerMs));
  timeout.unref();
  copy.once("end", () => held.end());
  finished(copy, (error) => {
    clearTimeout(timeout);
    if (error != null) held.leave(signal?.aborted ? "canceled" : "abandoned");
  });
  if (signal !== undefined) addAbortSignal(signal, copy);
  held.client.query(copy);
  // Its first data, or an error, is taken before somebody reads.
  copy.read(0);
  return copy;
}
