// Writes a table in parts, each a range of keys. Parts of an earlier run stay if the database has the same rows in
// their range still; else that range is written anew.
import {
  type Compression,
  type ExportedPart,
  type ExportedTable,
  formatDigest,
  type RowFormat,
} from "@ectus/bag";
import { EctusError } from "@ectus/core";
import { dataMap, exportedColumns } from "../data-map.ts";
import type { ColumnEntry, TableEntry } from "../data-map-entry.ts";
import { copyStatement, type ExportSettings, keySettings, type RowSelection } from "../export-statements.ts";
import { removeExportParts } from "../queries/export-work.ts";
import type { ExportPartRow } from "../queries/exports.ts";
import type { RowBlock, SnapshotReader } from "../snapshot.ts";
import { type Block, compress, compressionSuffix } from "./compress.ts";
import type { ExportRun } from "./export-run.ts";
import { addToBag, isStored, removeBlobs, storeBlob, type WrittenFile } from "./part-writer.ts";
import { readRowKey } from "./row-key.ts";
import type { SecondPath } from "./second-path.ts";

const mostBlockBytes = 1024 * 1024;
const mask = (1n << 64n) - 1n;

export interface TableReading {
  readonly run: ExportRun;
  readonly reader: SnapshotReader;
  readonly secondPath: SecondPath;
  readonly rows: RowSelection;
  readonly format: RowFormat;
  /** Rows that the database counts. */
  readonly expected: Promise<number>;
}

/** A part in this run or an earlier one. */
interface Part extends ExportedPart {
  readonly lastKey: readonly string[];
}

/** @throws EctusError `export_incomplete` when what was written is not what the database has */
export async function writeTable(reading: TableReading): Promise<ExportedTable> {
  const { rows } = reading;
  const parts: Part[] = [];
  for (const earlier of await usableParts(reading)) {
    const after = parts.at(-1)?.lastKey;
    parts.push((await keepPart(reading, earlier, after)) ?? (await rewritePart(reading, earlier, after)));
  }
  const rest = { after: parts.at(-1)?.lastKey, until: undefined };
  parts.push(...(await writeParts(reading, parts.length + 1, rest)));
  const written = parts.reduce((sum, part) => sum + part.rows, 0);
  const expected = await reading.expected;
  if (written !== expected) {
    throw new EctusError("export_incomplete", {
      reason: `of ${rows.table} ${written} rows were written, and the database counts ${expected}`,
    });
  }
  return describe(rows, parts);
}

function describe({ table, types }: RowSelection, parts: readonly Part[]): ExportedTable {
  const entry = dataMap[table] as TableEntry;
  const columns = entry.columns as Readonly<Record<string, ColumnEntry>>;
  return {
    name: table,
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    digest: formatDigest(parts.reduce((sum, part) => (sum + BigInt(`0x${part.digest}`)) & mask, 0n)),
    columns: exportedColumns(table).map((name) => ({
      name,
      type: types[name] as string,
      class: columns[name]?.class as string,
    })),
    key: entry.key,
    withheld: Object.entries(columns).flatMap(([name, { exported }]) =>
      exported === true ? [] : [{ name, reason: exported.withheld }],
    ),
    parts: parts.map(({ lastKey, ...part }) => part),
  };
}

/** Parts of an earlier run in their order; those that cannot be used again are taken out of the bag. */
async function usableParts({ run, rows }: TableReading): Promise<readonly ExportPartRow[]> {
  const { key } = dataMap[rows.table] as TableEntry;
  const earlier = run.earlier
    .filter((part) => part.kind === "rows" && part.source === rows.table)
    .sort((a, b) => (a.number ?? 0) - (b.number ?? 0));
  let usable = 0;
  // A row without a key of its own is its table's only one.
  while (key.length > 0 && earlier[usable]?.number === usable + 1) usable += 1;
  const rest = earlier.slice(usable);
  await removeExportParts(run.database, run.claim, rest);
  await removeBlobs(
    run,
    rest.map((part) => part.blob_id),
  );
  return earlier.slice(0, usable);
}

type Key = readonly string[] | undefined;
interface Range {
  readonly after: Key;
  readonly until: Key;
}

/** The part of an earlier run, if it is stored and the database has the same rows in its range. */
async function keepPart(
  { run, secondPath, rows, format }: TableReading,
  earlier: ExportPartRow,
  after: Key,
): Promise<Part | undefined> {
  const { path, row_count, row_bytes, row_digest, last_key, bytes, sha256 } = earlier;
  const range = { after, until: last_key as readonly string[] };
  if (!(await isStored(run, earlier))) return undefined;
  const tally = await secondPath.tally(selectionOf(rows, range), format, settingsOf(range));
  if (tally.rows !== row_count || tally.digest !== row_digest) return undefined;
  count(run, tally.rows, row_bytes ?? 0);
  return {
    path,
    rows: tally.rows,
    digest: tally.digest,
    bytes,
    sha256: sha256.toString("hex"),
    lastKey: range.until,
  };
}

async function rewritePart(reading: TableReading, earlier: ExportPartRow, after: Key): Promise<Part> {
  const range = { after, until: earlier.last_key as readonly string[] };
  const number = earlier.number as number;
  const [part] = await writeParts(reading, number, range, Number.POSITIVE_INFINITY);
  if (part !== undefined) return part;
  const { run, rows, format } = reading;
  const file = await storeBlob(
    run,
    pathOf(reading, number),
    compress(header(rows, format), compressionOf(run)),
  );
  return finishPart(reading, number, file, { rows: 0, bytes: 0, digest: 0n, lastKey: range.until }, range);
}

/** Writes what is in a range, in parts from `first` on. */
async function writeParts(
  reading: TableReading,
  first: number,
  range: Range,
  partBytes = reading.run.partBytes,
): Promise<readonly Part[]> {
  const { run, reader, rows, format } = reading;
  const blocks = reader
    .copyRows({
      text: copyStatement(selectionOf(rows, range), format),
      table: rows.table,
      settings: settingsOf(range),
      format,
      blockBytes: Math.min(mostBlockBytes, run.partBytes),
    })
    [Symbol.asyncIterator]();
  const parts: Part[] = [];
  // A part is made durable while the next one is read.
  let finishing: Promise<void> = Promise.resolve();
  /** The part that is stored and is not one to be finished yet. */
  let storing: Promise<WrittenFile> | undefined;
  try {
    let after = range.after;
    let next = await blocks.next();
    for (let number = first; !next.done; number += 1) {
      const taken = takePart(reading, blocks, next.value, partBytes);
      const stored = storeBlob(run, pathOf(reading, number), compress(taken.source, compressionOf(run)));
      storing = stored;
      const read = await Promise.race([taken.read, stored.then(() => taken.read)]);
      await finishing;
      const here = { after, until: range.until ?? read.lastKey };
      finishing = stored.then(async (file) => {
        parts.push(await finishPart(reading, number, file, { ...read, lastKey: here.until }, here));
      });
      storing = undefined;
      // Thrown where it is waited for.
      finishing.catch(() => {});
      after = here.until;
      next = read.next;
    }
    await finishing;
  } finally {
    await blocks.return?.();
    // When this failed nothing of it goes on, and what was stored for nothing does not stay.
    await finishing.catch(() => {});
    await storing?.then(
      ({ blobId }) => removeBlobs(run, [blobId]),
      () => {},
    );
  }
  return parts;
}

interface RowsRead {
  readonly rows: number;
  /** Before compression, without a header. */
  readonly bytes: number;
  readonly digest: bigint;
  readonly lastKey: readonly string[];
}

interface TakenPart {
  /** The rows of one part. */
  readonly source: AsyncIterable<Block>;
  /** Known when they are read: what they were, and the block after them. */
  readonly read: Promise<RowsRead & { readonly next: IteratorResult<RowBlock> }>;
}

/** Takes blocks from `first` on, until there are `partBytes` of them and a row ends. */
function takePart(
  { run, rows, format }: TableReading,
  blocks: AsyncIterator<RowBlock>,
  first: RowBlock,
  partBytes: number,
): TakenPart {
  const { key } = dataMap[rows.table] as TableEntry;
  const { promise: read, resolve } = Promise.withResolvers<Awaited<TakenPart["read"]>>();
  async function* take(): AsyncGenerator<Block> {
    yield* header(rows, format);
    const sum = { rows: 0, bytes: 0, digest: 0n };
    for (let block = first; ; ) {
      await run.pace(block.bytes.length);
      // Whoever takes the block may release it before the next one is here.
      const lastRow = Buffer.from(block.lastRow);
      yield block;
      sum.rows += block.rows;
      sum.bytes += block.bytes.length;
      sum.digest = (sum.digest + block.digest) & mask;
      count(run, block.rows, block.bytes.length);
      const next = await blocks.next();
      if (next.done || (block.endsRow && sum.bytes >= partBytes)) {
        resolve({ ...sum, lastKey: readRowKey(lastRow, key, format), next });
        return;
      }
      block = next.value;
    }
  }
  return { source: take(), read };
}

async function finishPart(
  { run, secondPath, rows, format }: TableReading,
  number: number,
  file: WrittenFile,
  read: RowsRead,
  range: Range,
): Promise<Part> {
  const tally = { rows: read.rows, digest: formatDigest(read.digest) };
  await addToBag(run, file, {
    kind: "rows",
    source: rows.table,
    number,
    row_count: tally.rows,
    row_bytes: read.bytes,
    row_digest: tally.digest,
    last_key: JSON.stringify(read.lastKey),
  });
  secondPath.compare(file.path, selectionOf(rows, range), format, settingsOf(range), tally);
  return { path: file.path, bytes: file.bytes, sha256: file.sha256, ...tally, lastKey: read.lastKey };
}

/** The first line of a part. */
async function* header({ table }: RowSelection, format: RowFormat): AsyncGenerator<Block> {
  if (format === "csv") yield { bytes: Buffer.from(`${exportedColumns(table).join(",")}\r\n`) };
}

function count({ counts }: ExportRun, rows: number, bytes: number): void {
  counts.rowsDone += rows;
  counts.bytesDone += bytes;
  counts.rowBytesDone += bytes;
}

/** A row without a key is its table's only one, and no range of keys has it. */
const hasKey = (rows: RowSelection): boolean => (dataMap[rows.table] as TableEntry).key.length > 0;

function selectionOf(rows: RowSelection, { after, until }: Range): RowSelection {
  if (!hasKey(rows)) return rows;
  return { ...rows, after: after !== undefined, until: until !== undefined };
}

function settingsOf({ after, until }: Range): ExportSettings {
  return { ...keySettings("after", after ?? []), ...keySettings("until", until ?? []) };
}

const compressionOf = (run: ExportRun): Compression => run.row.compression as Compression;

function pathOf({ run, rows, format }: TableReading, number: number): string {
  const folder = rows.table === "audit_log" ? "data/audit" : `data/tables/${rows.table}`;
  const suffix = compressionSuffix[compressionOf(run)];
  return `${folder}/part-${String(number).padStart(5, "0")}.${format}${suffix}`;
}
