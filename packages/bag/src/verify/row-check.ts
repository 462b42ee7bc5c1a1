// Checks the rows of a part against export.json: how many, their digest, the header of CSV, and their form. All are
// counted and digested, and of all the form is looked at (a JSON object; so many values); names and order of the columns
// are checked in the header of CSV and in the first and last row of NDJSON, since to parse each would double the time.
import { EctusError } from "@ectus/core";
import type { ExportedPart, ExportedTable, RowFormat } from "../export-document.ts";
import { printable } from "../printable.ts";
import { createRowDigest, formatDigest } from "../row-digest.ts";
import { createRowReader } from "../row-reader.ts";
import { type FaultList, plural } from "./fault-list.ts";

export interface RowCheck {
  /** Takes uncompressed bytes. Throws `bag_invalid` if they cannot be rows, or are far too many. */
  write(chunk: Buffer): void;
  /** Throws `bag_invalid` if the last row is not whole. */
  end(): void;
  /** Tells how what was read differs from export.json. */
  compare(): void;
  readonly count: number;
}

export interface RowCheckOptions {
  readonly table: ExportedTable;
  readonly part: ExportedPart;
  readonly format: RowFormat;
  readonly faults: FaultList;
  readonly mostRowBytes?: number;
}

/** Beyond those that should be there: who adds more wants to keep a reader busy. */
const mostRowsTooMany = 1_000_000;
/** A larger row is not parsed. */
const mostParsedBytes = 64 * 1024 * 1024;

export function createRowCheck({ table, part, format, faults, ...limits }: RowCheckOptions): RowCheck {
  const columns = table.columns.map(({ name }) => name);
  const digest = createRowDigest();
  const mostRows = part.rows + mostRowsTooMany;
  let count = 0;
  let lastRow: Buffer | undefined;
  let lastStart = 0;
  let lastEnd = 0;
  let isTold = false;

  // One row at fault is enough to know.
  const tell = (what: string): void => {
    if (!isTold) faults.add("row_invalid", part.path, `row ${count.toLocaleString("en-US")} ${what}`);
    isTold = true;
  };

  const onCsvRow = (buffer: Buffer, start: number, end: number, values: number): void => {
    count++;
    digest.add(buffer, start, end);
    if (values !== columns.length)
      tell(`has ${plural(values, "value")} for ${plural(columns.length, "column")}`);
  };

  const onJsonRow = (buffer: Buffer, start: number, end: number): void => {
    count++;
    digest.add(buffer, start, end);
    if (buffer[start] !== 0x7b || buffer[end - 1] !== 0x7d) tell("is not a JSON object");
    lastRow = buffer;
    lastStart = start;
    lastEnd = end;
    if (count === 1) checkLastRow();
  };

  const checkLastRow = (): void => {
    if (lastRow === undefined || lastEnd - lastStart > mostParsedBytes) return;
    const what = rowFault(lastRow.toString("utf8", lastStart, lastEnd), columns);
    if (what !== undefined) tell(what);
  };

  const reader = createRowReader({
    ...limits,
    format,
    onRow: format === "csv" ? onCsvRow : onJsonRow,
    onHeader(header) {
      if (header !== columns.join(","))
        faults.add(
          "header_differs",
          part.path,
          `its header is ${printable(header)} where export.json has the columns ${columns.join(",")}`,
        );
    },
  });

  return {
    write(chunk) {
      reader.write(chunk);
      if (count > mostRows)
        throw new EctusError("bag_invalid", {
          reason: `more than ${plural(mostRows, "row")} where export.json says ${part.rows.toLocaleString("en-US")}`,
          isCount: true,
        });
    },
    end() {
      reader.end();
      if (count > 1) checkLastRow();
    },
    compare() {
      const found = formatDigest(digest.sum);
      // Other rows have another digest, which then says nothing new.
      if (count !== part.rows)
        faults.add(
          "rows_differ",
          part.path,
          `${plural(count, "row")} where export.json says ${part.rows.toLocaleString("en-US")}`,
        );
      else if (found !== part.digest)
        faults.add(
          "row_digest_differs",
          part.path,
          `its rows have the digest ${found} where export.json says ${part.digest}`,
        );
    },
    get count() {
      return count;
    },
  };
}

/** What is wrong with a line of NDJSON; undefined if it is an object with these columns in this order. */
function rowFault(line: string, columns: readonly string[]): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "is not JSON";
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "is not a JSON object";
  const names = Object.keys(value);
  if (names.length === columns.length && names.every((name, index) => name === columns[index]))
    return undefined;
  return `has the columns ${printable(names.join(","))} where export.json has ${columns.join(",")}`;
}
