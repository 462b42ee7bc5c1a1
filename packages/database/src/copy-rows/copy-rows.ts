// Rows of a `copy … to stdout` in blocks. What PostgreSQL sends is taken from the connection before pg's own parser, which
// would make objects of each row; what is not rows is given back to it, errors above all.
import type { Duplex } from "node:stream";
import type pg from "pg";
import { noAnswer } from "../row-cursor.ts";
import type { HeldConnection, Session } from "../session.ts";
import type { CopyRows, RowBlock } from "../snapshot.ts";
import { setKind } from "../statement-kind.ts";
import { createCopyDecoder } from "./copy-decoder.ts";
import { takeChunks } from "./read-socket.ts";
import { createRowBlocks } from "./row-blocks.ts";

// So many wait for their reader; then PostgreSQL has to wait, too. A few more can be in what had arrived.
const mostBlocksAhead = 4;
const longestTimerMs = 2 ** 31 - 1;

// What pg gives a query that it runs, and calls of it.
interface PgConnection {
  readonly stream: Duplex;
  query(text: string): void;
  sendCopyFail(message: string): void;
}
interface Submittable {
  submit(connection: PgConnection): void;
  handleError(error: Error): void;
  handleCommandComplete(message: { readonly text?: string }): void;
  handleReadyForQuery(): void;
  handleRowDescription(): void;
  handleDataRow(): void;
  handleEmptyQuery(): void;
  handlePortalSuspended(): void;
  handleCopyInResponse(connection: PgConnection): void;
}

/**
 * To be read to its end before the next statement; one that is left has the server end it, and the connection is not
 * used any more.
 *
 * @param silenceMs how long to wait when PostgreSQL has something to say: longer than a statement may take
 */
export async function* copyRows(
  session: Session,
  copy: CopyRows,
  silenceMs: number,
): AsyncGenerator<RowBlock, void, undefined> {
  await session.run(setKind, {
    text: "select set_config(name, value, true) from unnest($1::text[], $2::text[]) as settings (name, value)",
    values: [Object.keys(copy.settings), Object.values(copy.settings)],
  });
  const reading = startReading(session, copy, silenceMs);
  try {
    for (;;) {
      const block = await reading.next();
      if (block === undefined) return;
      yield block;
    }
  } finally {
    reading.leave();
  }
}

interface Reading {
  /** Undefined after the last. */
  next(): Promise<RowBlock | undefined>;
  /** Does nothing once it is over. */
  leave(): void;
}

function startReading(session: Session, copy: CopyRows, silenceMs: number): Reading {
  const blocks: RowBlock[] = [];
  let rowCount = 0;
  let isOver = false;
  let error: unknown;
  let wake = (): void => {};
  let socket: Duplex | undefined;
  let givenRows: number | undefined;

  const rows = createRowBlocks({
    lineEnd: copy.format === "csv" ? "\r\n" : "\n",
    blockBytes: copy.blockBytes,
    onBlock: (block) => {
      blocks.push(block);
      rowCount += block.rows;
      wake();
    },
  });

  function over(reason?: unknown): void {
    isOver = true;
    error = reason;
    clearTimeout(silence);
    wake();
  }

  const held: HeldConnection = session.beginReading(
    { operation: "export_copy", table: copy.table },
    copy.text,
    () => {
      held.leave("abandoned");
      over(new Error("the transaction of a COPY ended before the COPY"));
    },
  );
  // Of a reader that is slow it is not PostgreSQL that is silent.
  const silence = setTimeout(
    () => {
      if (socket?.isPaused()) silence.refresh();
      else query.handleError(noAnswer());
    },
    Math.min(silenceMs, longestTimerMs),
  );
  silence.unref();

  const query: Submittable = {
    submit(connection) {
      const { stream } = connection;
      const ofPg = stream.listeners("data") as ((chunk: Buffer) => void)[];
      const [parse] = ofPg;
      if (parse === undefined || ofPg.length > 1)
        throw new TypeError("pg reads its connection otherwise now");
      const decoder = createCopyDecoder({
        format: copy.format,
        rows,
        pass: (bytes) => parse(Buffer.from(bytes)),
      });
      const take = (chunk: Buffer): void => {
        // It was left, and its connection is about to be closed.
        if (isOver) return;
        silence.refresh();
        let rest: Buffer | undefined;
        try {
          rest = decoder.decode(chunk);
        } catch (unreadable) {
          held.leave("other", unreadable as Error);
          over(unreadable);
          return;
        }
        if (rest !== undefined) {
          giveBack();
          // The parser may keep it, and a chunk is overwritten.
          parse(Buffer.from(rest));
        } else if (blocks.length >= mostBlocksAhead) {
          stream.pause();
        }
      };
      const giveBack = (): void => {
        if (takeChunks(stream, undefined)) return;
        stream.off("data", take);
        stream.on("data", parse);
      };
      socket = stream;
      if (!takeChunks(stream, take)) {
        stream.off("data", parse);
        stream.on("data", take);
      }
      connection.query(copy.text);
    },
    // Also when the connection breaks.
    handleError(thrown) {
      if (!isOver) over(held.fail(thrown));
    },
    handleCommandComplete({ text }) {
      const count = /^COPY (\d+)$/.exec(text ?? "")?.[1];
      if (count !== undefined) givenRows = Number(count);
    },
    handleReadyForQuery() {
      if (isOver) return;
      rows.finish();
      if (givenRows === rowCount) {
        held.end();
        over();
      } else {
        this.handleError(new Error(`a COPY gave ${rowCount} rows, and should have given ${givenRows}`));
      }
    },
    handleRowDescription() {},
    handleDataRow() {},
    handleEmptyQuery() {},
    handlePortalSuspended() {},
    handleCopyInResponse: (connection) => connection.sendCopyFail("nothing to copy"),
  };
  held.client.query(query as unknown as pg.Submittable);

  return {
    async next() {
      while (blocks.length === 0 && !isOver)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      // What came before an error is worth nothing.
      if (error !== undefined) throw error;
      const block = blocks.shift();
      if (!isOver && blocks.length < mostBlocksAhead && socket?.isPaused()) {
        silence.refresh();
        socket.resume();
      }
      return block;
    },
    leave() {
      if (isOver) return;
      held.leave("abandoned");
      over();
    },
  };
}
