// The other path to what an export should have: counts and digests that the database computes on the same snapshot,
// without COPY, range by range while the next part is written. What differs ends the export.
import { formatDigest, type RowFormat, sumOfNumeric } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import {
  countStatement,
  digestStatement,
  type ExportSettings,
  type RowSelection,
} from "../export-statements.ts";
import type { SnapshotReader } from "../snapshot.ts";

export interface RowTally {
  readonly rows: number;
  /** 16 hex digits. */
  readonly digest: string;
}

export interface SecondPath {
  count(rows: RowSelection): Promise<number>;
  /** What the database has in a range of keys. */
  tally(rows: RowSelection, format: RowFormat, range: ExportSettings): Promise<RowTally>;
  /** Has a part compared, in its turn; the failure is thrown by the next call, or by `done`. */
  compare(
    path: string,
    rows: RowSelection,
    format: RowFormat,
    range: ExportSettings,
    written: RowTally,
  ): void;
  /** Resolves when all was compared. */
  done(): Promise<void>;
}

export function createSecondPath(reader: SnapshotReader): SecondPath {
  // The reader does one thing at a time.
  let last: Promise<unknown> = Promise.resolve();

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = last.then(work);
    last = turn;
    // Thrown where it is waited for.
    turn.catch(() => {});
    return turn;
  }

  async function tally(rows: RowSelection, format: RowFormat, range: ExportSettings): Promise<RowTally> {
    await setAll(reader, range);
    const [found] = await reader.query<{ rows: number; digest: string }>({
      text: digestStatement(rows, format),
      values: [],
      operation: "export_digest",
      table: rows.table,
    });
    return { rows: found?.rows ?? 0, digest: formatDigest(sumOfNumeric(found?.digest ?? "0")) };
  }

  return {
    count: (rows) =>
      inTurn(async () => {
        const [found] = await reader.query<{ rows: number }>({
          text: countStatement(rows),
          values: [],
          operation: "export_count",
          table: rows.table,
        });
        return found?.rows ?? 0;
      }),
    tally: (rows, format, range) => inTurn(() => tally(rows, format, range)),
    compare: (path, rows, format, range, written) =>
      void inTurn(async () => refuseDifferent(path, await tally(rows, format, range), written)),
    done: async () => void (await last),
  };
}

/** @throws EctusError `export_incomplete` */
function refuseDifferent(path: string, expected: RowTally, written: RowTally): void {
  if (expected.rows === written.rows && expected.digest === written.digest) return;
  throw new EctusError("export_incomplete", {
    reason: `${path} has ${written.rows} rows with the digest ${written.digest}, and the database has ${expected.rows} with ${expected.digest}`,
  });
}

/** Gives settings to the transaction of a reader. */
export async function setAll(reader: SnapshotReader, settings: ExportSettings): Promise<void> {
  const names = Object.keys(settings);
  if (names.length === 0) return;
  await reader.query({
    text: "select set_config(name, value, true) from unnest($1::text[], $2::text[]) as settings (name, value)",
    values: [names, Object.values(settings)],
    operation: "set",
    table: "none",
  });
}
