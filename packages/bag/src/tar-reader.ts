// Finds the entries of a tar file on disk, whoever packed it, by seeking from header to header: ustar, pax and GNU's long
// names and lengths. Whatever is no plain file or folder is refused, and so is a path that leads elsewhere.
import type { FileHandle } from "node:fs/promises";
import { EctusError } from "@ectus/core";
import { printable } from "./printable.ts";
import { tarBlockBytes, tarChecksum, tarPadding } from "./tar-header.ts";

export interface TarFile {
  /** Where its contents begin. */
  readonly offset: number;
  readonly bytes: number;
}

/** More entries than any bag has: their names are kept in memory. */
const mostEntries = 5_000_000;
/** Of a long name or a pax header. */
const mostExtendedBytes = 1024 * 1024;
const windowBytes = 128 * 1024;

/** The plain files of a tar file by their paths, without a leading `./`. Throws `bag_invalid`. */
export async function indexTar(
  handle: FileHandle,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, TarFile>> {
  const { size } = await handle.stat();
  const read = windowed(handle, size);
  const files = new Map<string, TarFile>();
  let long: Extended = {};
  let offset = 0;
  let entries = 0;
  for (;;) {
    signal?.throwIfAborted();
    const header = await read(offset, tarBlockBytes);
    if (header === undefined)
      throw invalid(
        offset === 0
          ? "the file is shorter than a tar file can be."
          : `the tar file was cut off: it has ${size} bytes and no end mark.`,
      );
    if (isZero(header)) break;
    if (++entries > mostEntries) throw invalid(`the tar file has more than ${mostEntries} entries.`);
    checkHeader(header, offset);
    const type = String.fromCharCode(header[156] ?? 0);
    const contents = offset + tarBlockBytes;
    const bytes =
      long.size !== undefined && !"xgL".includes(type) ? long.size : numberAt(header, 124, 12, offset);
    const path = long.path ?? pathOf(header, offset);
    if (contents + bytes > size)
      throw invalid(
        `the tar file was cut off: it has ${size} bytes, and ${printable(path)} would end at ${contents + bytes}.`,
      );
    offset = contents + bytes + tarPadding(bytes);
    if (type === "x" || type === "g" || type === "L") {
      if (bytes > mostExtendedBytes) throw invalid(`the tar file has a name or header of ${bytes} bytes.`);
      const said = await read(contents, bytes);
      if (said === undefined) throw invalid("the tar file was cut off.");
      if (type === "L") long = { ...long, path: text(untilNul(said), contents) };
      else if (type === "x") long = { ...long, ...paxOf(said, contents) };
      else if (Object.keys(paxOf(said, contents)).length > 0)
        throw invalid(`the tar file names all its entries alike, at byte ${contents}.`);
      continue;
    }
    add(files, path, type, { offset: contents, bytes });
    long = {};
  }
  if (long.path !== undefined || long.size !== undefined)
    throw invalid("the tar file ends where an entry should follow.");
  await checkEnd(read, offset, size, signal);
  return files;
}

/** What is said before an entry of it. */
interface Extended {
  readonly path?: string;
  readonly size?: number;
}

function add(files: Map<string, TarFile>, given: string, type: string, file: TarFile): void {
  const shown = printable(given);
  const isFolder = type === "5";
  if (!isFolder && type !== "0" && type !== "\0")
    throw invalid(
      `${shown} is ${kinds[type] ?? "no plain file"} in the tar file; a bag has plain files only.`,
    );
  if (isFolder && file.bytes > 0) throw invalid(`the folder ${shown} has contents in the tar file.`);
  const names = (isFolder && given.endsWith("/") ? given.slice(0, -1) : given).split("/");
  while (names.length > 1 && names[0] === ".") names.shift();
  if (isFolder && names.length === 1 && names[0] === ".") return;
  if (names.some((name) => name === "" || name === "." || name === "..") || given.includes("\0"))
    throw invalid(`the path ${shown} in the tar file is absolute or leads elsewhere.`);
  if (isFolder) return;
  const path = names.join("/");
  if (files.has(path)) throw invalid(`${shown} is in the tar file twice.`);
  files.set(path, file);
}

const kinds: Readonly<Record<string, string>> = {
  "1": "a hard link",
  "2": "a symbolic link",
  "3": "a device",
  "4": "a device",
  "6": "a pipe",
  K: "a link",
  S: "a sparse file",
};

function checkHeader(header: Buffer, offset: number): void {
  const magic = header.toString("latin1", 257, 262);
  if (offset === 0 && magic !== "ustar") {
    const packed = header.readUInt16BE(0) === 0x1f8b || header.readUInt32LE(0) === 0xfd2fb528;
    throw invalid(packed ? "the file is compressed; unpack it first." : "the file is not a tar file.");
  }
  if (magic !== "ustar" || numberAt(header, 148, 8, offset) !== tarChecksum(header))
    throw invalid(
      `the tar file is damaged at byte ${offset}: what should be a header there does not add up.`,
    );
}

function pathOf(header: Buffer, offset: number): string {
  const name = text(untilNul(header.subarray(0, 100)), offset);
  // GNU's own format has other things in the field for the prefix.
  const isPosix = header[262] === 0;
  const prefix = isPosix ? text(untilNul(header.subarray(345, 500)), offset) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** A number in octal digits, or in GNU's binary form of large ones. */
function numberAt(header: Buffer, start: number, length: number, offset: number): number {
  const field = header.subarray(start, start + length);
  if (field[0] === 0x80) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
    if (Number.isSafeInteger(value)) return value;
  } else {
    const digits = /^ *([0-7]+)[ \0]*$/.exec(field.toString("latin1"))?.[1];
    if (digits !== undefined) return Number.parseInt(digits, 8);
  }
  throw invalid(`the tar file is damaged at byte ${offset}: a header has no sane length or checksum.`);
}

/** Path and size of a pax header. What else changes an entry's name or contents is refused. */
function paxOf(said: Buffer, offset: number): Extended {
  const found: { path?: string; size?: number } = {};
  let start = 0;
  while (start < said.length) {
    const space = said.indexOf(0x20, start);
    const digits = said.toString("latin1", start, space);
    const end = start + Number(digits);
    const equals = said.indexOf("=", space);
    if (
      space < 0 ||
      !/^[1-9][0-9]{0,6}$/.test(digits) ||
      end > said.length ||
      equals < 0 ||
      equals >= end ||
      said[end - 1] !== 0x0a
    )
      throw invalid(`the tar file is damaged at byte ${offset}: a pax header that cannot be read.`);
    const keyword = text(said.subarray(space + 1, equals), offset);
    const value = said.subarray(equals + 1, end - 1);
    if (keyword === "path") found.path = text(value, offset);
    else if (keyword === "size") {
      const size = Number(/^[0-9]{1,16}$/.exec(value.toString("latin1"))?.[0] ?? Number.NaN);
      if (!Number.isSafeInteger(size))
        throw invalid(`the tar file is damaged at byte ${offset}: a length that is none.`);
      found.size = size;
    } else if (keyword === "linkpath" || keyword.startsWith("GNU.sparse."))
      throw invalid("the tar file has links or sparse files; a bag has plain files only.");
    start = end;
  }
  return found;
}

/** Two blocks of zeros end a tar file; after them nothing but zeros. */
async function checkEnd(read: ReadAt, endMark: number, size: number, signal?: AbortSignal): Promise<void> {
  if (size < endMark + 2 * tarBlockBytes)
    throw invalid(`the tar file was cut off in its end mark: it has ${size} bytes.`);
  for (let offset = endMark; offset < size; offset += windowBytes) {
    signal?.throwIfAborted();
    const block = await read(offset, Math.min(windowBytes, size - offset));
    if (block === undefined || !isZero(block))
      throw invalid(`the tar file goes on after its end mark, at byte ${endMark}.`);
  }
}

/** Bytes at an offset; undefined if there are not so many. Valid until the next call. */
type ReadAt = (offset: number, length: number) => Promise<Buffer | undefined>;

/** Reads more than is asked for, so that headers of small files do not cost a read each. */
function windowed(handle: FileHandle, size: number): ReadAt {
  let window: Buffer = Buffer.alloc(0);
  let windowOffset = 0;
  return async (offset, length) => {
    if (offset + length > size) return undefined;
    if (offset < windowOffset || offset + length > windowOffset + window.length) {
      window = await readFully(handle, offset, Math.min(Math.max(length, windowBytes), size - offset));
      windowOffset = offset;
    }
    const start = offset - windowOffset;
    return start + length <= window.length ? window.subarray(start, start + length) : undefined;
  };
}

/** Fewer bytes only if the file has become shorter meanwhile. */
async function readFully(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

function text(bytes: Buffer, offset: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid(`the tar file has a name at byte ${offset} that is not UTF-8.`);
  }
}

function untilNul(bytes: Buffer): Buffer {
  const nul = bytes.indexOf(0);
  return nul < 0 ? bytes : bytes.subarray(0, nul);
}

const zeros = Buffer.alloc(windowBytes);
const isZero = (bytes: Buffer): boolean => zeros.subarray(0, bytes.length).equals(bytes);

const invalid = (reason: string): EctusError => new EctusError("bag_invalid", { reason });
