// Finds the rows in the bytes of a part: NDJSON with a line a row, or CSV as exports write it: RFC 4180, a header, every
// value in quotes or, for null, absent.
import { EctusError } from "@ectus/core";
import type { RowFormat } from "./export-document.ts";

export interface RowReader {
  /** Takes the next bytes, uncompressed. Throws `bag_invalid` if they cannot be rows. */
  write(chunk: Buffer): void;
  /** There are no more. Throws `bag_invalid` if the last row, or the header, is not whole. */
  end(): void;
}

export interface RowReaderOptions {
  readonly format: RowFormat;
  /**
   * Takes a row, which is in `buffer` from `start` to before `end`, without its line end. The buffer is never written to
   * again. `values` counts those of a CSV row; it is 0 for NDJSON.
   */
  readonly onRow: (buffer: Buffer, start: number, end: number, values: number) => void;
  /** Takes the header of CSV. */
  readonly onHeader?: (header: string) => void;
  /** Of a row; a larger one is refused, since a row is held in memory. */
  readonly mostRowBytes?: number;
}

/** The largest value that PostgreSQL stores has 1 GiB; what is larger is no row of an export. */
const mostRowBytes = 1024 * 1024 * 1024;

export function createRowReader(options: RowReaderOptions): RowReader {
  const { format, onRow, onHeader = () => {} } = options;
  const most = options.mostRowBytes ?? mostRowBytes;
  let rows = 0;
  let headerSeen = format === "ndjson";
  // What came of a row that goes on in the next chunk.
  let begun: Buffer[] = [];
  let begunBytes = 0;

  const fault = (what: string): EctusError =>
    new EctusError("bag_invalid", {
      reason: headerSeen ? `row ${(rows + 1).toLocaleString("en-US")} ${what}` : `its header ${what}`,
    });

  /** A row from `start`, or from what was begun, to before `end` of this chunk, with its line end of so many bytes. */
  function finishRow(chunk: Buffer, start: number, end: number, lineEndBytes: number, values: number): void {
    if (begunBytes === 0) {
      give(chunk, start, end - lineEndBytes, values);
      return;
    }
    begun.push(chunk.subarray(start, end));
    const whole = Buffer.concat(begun);
    begun = [];
    begunBytes = 0;
    give(whole, 0, whole.length - lineEndBytes, values);
  }

  function give(buffer: Buffer, start: number, end: number, values: number): void {
    if (end - start > most) throw tooLong();
    if (headerSeen) {
      onRow(buffer, start, end, values);
      rows++;
    } else {
      headerSeen = true;
      onHeader(buffer.toString("utf8", start, end));
    }
  }

  const tooLong = (): EctusError => fault(`has more than ${most.toLocaleString("en-US")} bytes`);

  function keep(chunk: Buffer, start: number): void {
    if (start === chunk.length) return;
    begun.push(start === 0 ? chunk : chunk.subarray(start));
    begunBytes += chunk.length - start;
    if (begunBytes > most) throw tooLong();
  }

  function writeLines(chunk: Buffer): void {
    let start = 0;
    for (let lf = chunk.indexOf(0x0a); lf >= 0; lf = chunk.indexOf(0x0a, start)) {
      finishRow(chunk, start, lf + 1, 1, 0);
      start = lf + 1;
    }
    keep(chunk, start);
  }

  let isQuoted = false;
  let values = 1;
  // The byte before, if it was outside of quotes or a quote.
  let before = lineFeed;

  function writeCsv(chunk: Buffer): void {
    const { length } = chunk;
    let start = 0;
    let p = 0;
    while (p < length) {
      if (isQuoted) {
        while (p < length && chunk[p] !== quote) p++;
        if (p === length) break;
        isQuoted = false;
        before = quote;
        p++;
        continue;
      }
      const byte = chunk[p++];
      if (before === carriageReturn && byte !== lineFeed)
        throw fault("has a carriage return that ends no line");
      if (byte === comma) values++;
      else if (byte === lineFeed) {
        if (before !== carriageReturn) throw fault("ends with a line feed alone");
        finishRow(chunk, start, p, 2, values);
        values = 1;
        start = p;
      } else if (byte === quote && headerSeen) isQuoted = true;
      else if (byte !== carriageReturn && headerSeen) throw fault("has a value that is not in quotes");
      before = byte ?? 0;
    }
    keep(chunk, start);
  }

  return {
    write: format === "ndjson" ? writeLines : writeCsv,
    end() {
      if (begunBytes > 0) throw fault(isQuoted ? "ends within a value in quotes" : "has no line end");
      if (!headerSeen) throw fault("is missing");
    },
  };
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const comma = 0x2c;
const quote = 0x22;
