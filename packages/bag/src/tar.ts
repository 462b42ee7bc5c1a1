// A bag as a tar file that is never stored: every header and offset follows from the names and lengths of its files, so
// any range of it can be sent. POSIX ustar, with a pax header where ustar cannot say it.
import {
  paxRecords,
  tarBlockBytes,
  tarHeader,
  tarPadding,
  ustarMostBytes,
  ustarNames,
} from "./tar-header.ts";

export interface TarEntry {
  /** With slashes, the bag's folder first. One that ends with a slash is a folder, which has no bytes. */
  readonly path: string;
  readonly bytes: number;
}

/** Bytes of the tar file itself, or a range of an entry's contents, both ends included. */
export type TarPiece<Entry extends TarEntry> =
  | { readonly kind: "bytes"; readonly bytes: Buffer }
  | { readonly kind: "contents"; readonly entry: Entry; readonly start: number; readonly end: number };

export interface TarLayout<Entry extends TarEntry> {
  readonly bytes: number;
  /** What makes up the bytes from `start` to `end`, both included, in order. */
  pieces(start: number, end: number): Iterable<TarPiece<Entry>>;
}

export interface TarOptions {
  /** Of every entry. */
  readonly modifiedAt: Date;
}

/** Bytes between contents, as headers of many empty files, are given in pieces of about this size at most. */
const pieceBytes = 64 * 1024;

/**
 * Lays out a tar file. The same entries and date give the same bytes: mode 0644, of folders 0755, owner 0, no names of
 * owners, whole seconds. Throws a RangeError for a path, length, date or range that no tar file can have.
 */
export function layOutTar<Entry extends TarEntry>(
  entries: readonly Entry[],
  { modifiedAt }: TarOptions,
): TarLayout<Entry> {
  const seconds = Math.floor(modifiedAt.getTime() / 1_000);
  if (!(seconds >= 0 && seconds < 8 ** 11)) throw new RangeError("a date that no tar file can have");
  // Where each entry begins, and last where the end mark does.
  const offsets = new Float64Array(entries.length + 1);
  const seen = new Set<string>();
  for (const [index, entry] of entries.entries()) {
    checkEntry(entry, seen);
    const next = at(offsets, index) + headersBytes(entry) + entry.bytes + tarPadding(entry.bytes);
    if (!Number.isSafeInteger(next)) throw new RangeError("more bytes than a tar file can have");
    offsets[index + 1] = next;
  }
  const endMark = at(offsets, entries.length);
  const bytes = endMark + 2 * tarBlockBytes;

  /** Pieces with their offsets in the tar file, the first of them perhaps before `start`, the last beyond the end. */
  function* wholePieces(start: number): Generator<readonly [number, TarPiece<Entry>]> {
    for (let index = lastNotAfter(offsets, start); index < entries.length; index++) {
      const entry = entries[index] as Entry;
      const headers = at(offsets, index);
      const contents = headers + headersBytes(entry);
      const padding = contents + entry.bytes;
      if (start < contents) yield [headers, { kind: "bytes", bytes: headersOf(entry, index, seconds) }];
      if (entry.bytes > 0) yield [contents, { kind: "contents", entry, start: 0, end: entry.bytes - 1 }];
      if (padding < at(offsets, index + 1))
        yield [padding, { kind: "bytes", bytes: Buffer.alloc(tarPadding(entry.bytes)) }];
    }
    yield [endMark, { kind: "bytes", bytes: Buffer.alloc(bytes - endMark) }];
  }

  return {
    bytes,
    pieces(start, end) {
      if (
        !Number.isSafeInteger(start) ||
        !Number.isSafeInteger(end) ||
        start < 0 ||
        end < start ||
        end >= bytes
      )
        throw new RangeError(`there are no bytes ${start} to ${end} in a tar file of ${bytes}`);
      return joined(cut(wholePieces(start), start, end));
    },
  };
}

/** A name that is empty, `.` or `..`, or U+0000, which would end a name. */
const unsafePath = /(^|\/)\.{0,2}(\/|$)|\0/;

function checkEntry({ path, bytes }: TarEntry, seen: Set<string>): void {
  const name = path.replace(/\/$/, "");
  if (unsafePath.test(name) || !name.isWellFormed() || seen.has(name))
    throw new RangeError(`${JSON.stringify(path)} is no path for a tar file, or is there twice`);
  seen.add(name);
  if (!Number.isSafeInteger(bytes) || bytes < 0 || (bytes > 0 && name !== path))
    throw new RangeError(`${path} cannot have ${bytes} bytes`);
}

/** What ustar cannot say of an entry; empty for nearly all. */
function paxOf({ path, bytes }: TarEntry): Buffer {
  const fits = ustarNames(path) !== undefined;
  if (fits && bytes <= ustarMostBytes) return Buffer.alloc(0);
  return paxRecords({
    ...(fits ? {} : { path }),
    ...(bytes <= ustarMostBytes ? {} : { size: String(bytes) }),
  });
}

function headersBytes(entry: TarEntry): number {
  const pax = paxOf(entry).length;
  return pax === 0 ? tarBlockBytes : 2 * tarBlockBytes + pax + tarPadding(pax);
}

function headersOf(entry: TarEntry, index: number, seconds: number): Buffer {
  const pax = paxOf(entry);
  const type = entry.path.endsWith("/") ? "5" : "0";
  if (pax.length === 0) return tarHeader({ ...entry, seconds, type });
  // Whoever reads pax takes path and length from there; to others these names are at least no other entry's.
  const path = ustarNames(entry.path) === undefined ? `PaxNames/${index}` : entry.path;
  const bytes = entry.bytes > ustarMostBytes ? 0 : entry.bytes;
  return Buffer.concat([
    tarHeader({ path: `PaxHeaders/${index}`, bytes: pax.length, seconds, type: "x" }),
    pax,
    Buffer.alloc(tarPadding(pax.length)),
    tarHeader({ path, bytes, seconds, type }),
  ]);
}

/** The index of the last offset that is not after `position`. */
function lastNotAfter(offsets: Float64Array, position: number): number {
  let low = 0;
  let high = offsets.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (at(offsets, middle) <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** What of the pieces lies between `start` and `end`. */
function* cut<Entry extends TarEntry>(
  pieces: Iterable<readonly [number, TarPiece<Entry>]>,
  start: number,
  end: number,
): Generator<TarPiece<Entry>> {
  for (const [offset, piece] of pieces) {
    if (offset > end) return;
    const length = piece.kind === "bytes" ? piece.bytes.length : piece.end + 1;
    const from = Math.max(start - offset, 0);
    const until = Math.min(end - offset + 1, length);
    if (from >= until) continue;
    if (piece.kind === "bytes") yield { kind: "bytes", bytes: piece.bytes.subarray(from, until) };
    else yield { ...piece, start: from, end: until - 1 };
  }
}

/** Puts bytes that follow each other into one piece: less to write. */
function* joined<Entry extends TarEntry>(pieces: Iterable<TarPiece<Entry>>): Generator<TarPiece<Entry>> {
  let waiting: Buffer[] = [];
  let length = 0;
  for (const piece of pieces) {
    if (piece.kind === "bytes") {
      waiting.push(piece.bytes);
      length += piece.bytes.length;
      if (length < pieceBytes) continue;
    }
    if (length > 0) yield { kind: "bytes", bytes: Buffer.concat(waiting) };
    waiting = [];
    length = 0;
    if (piece.kind === "contents") yield piece;
  }
  if (length > 0) yield { kind: "bytes", bytes: Buffer.concat(waiting) };
}

const at = (offsets: Float64Array, index: number): number => offsets[index] ?? Number.NaN;
