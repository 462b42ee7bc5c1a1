// Where a bag is read from: a folder, or a tar file as it was downloaded or as somebody packed it again.
import { constants, createReadStream, read } from "node:fs";
import { type FileHandle, lstat, open, opendir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { EctusError, errorMessage } from "@ectus/core";
import { printable } from "./printable.ts";
import { indexTar } from "./tar-reader.ts";

export interface BagSource extends AsyncDisposable {
  /** Of the bag's folder. */
  readonly name: string;
  /** Every file by its path below the bag's folder, with slashes. */
  readonly entries: ReadonlyMap<string, { readonly bytes: number }>;
  /** Reads a file of it. Who reads ends or destroys the stream. */
  read(path: string): Promise<Readable>;
  close(): Promise<void>;
}

/** More files than any bag has: their names are kept in memory. */
const mostFiles = 5_000_000;
/** Of one read. Larger ones cost less, to hash as well. */
const chunkBytes = 1024 * 1024;

/** Opens a bag, whose contents may still be anything: `verifyBag` checks them. Throws `bag_invalid`. */
export async function openBag(path: string, signal?: AbortSignal): Promise<BagSource> {
  // A link to a bag is one that the caller gave; links within a bag are refused.
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR")
      throw invalid(`there is nothing at ${printable(path)}.`, error);
    throw invalid(`${printable(path)} cannot be read: ${error.message}.`, error);
  });
  if (found.isDirectory()) return openFolder(resolve(path), signal);
  if (found.isFile()) return openTar(path, signal);
  throw invalid(`${printable(path)} is neither a folder nor a tar file.`);
}

async function openFolder(folder: string, signal?: AbortSignal): Promise<BagSource> {
  const entries = new Map<string, { bytes: number }>();
  const folders = [""];
  for (let below = folders.pop(); below !== undefined; below = folders.pop()) {
    for await (const { name } of await opendir(join(folder, below)).catch(unreadable(below))) {
      signal?.throwIfAborted();
      const path = below === "" ? name : `${below}/${name}`;
      const found = await lstat(join(folder, path)).catch(unreadable(path));
      if (found.isDirectory()) folders.push(path);
      else if (found.isFile()) entries.set(path, { bytes: found.size });
      else
        throw invalid(
          `${printable(path)} is ${found.isSymbolicLink() ? "a symbolic link" : "no plain file"}; a bag has plain files only.`,
        );
      if (entries.size > mostFiles) throw invalid(`the folder has more than ${mostFiles} files.`);
    }
  }
  if (!entries.has("bagit.txt"))
    throw invalid(`the folder ${printable(folder)} has no file bagit.txt, so it is not a bag.`);
  return source(basename(folder), entries, {
    async read(path) {
      const handle = await open(join(folder, path), constants.O_RDONLY | constants.O_NOFOLLOW);
      return handle.createReadStream({ highWaterMark: chunkBytes });
    },
    async close() {},
  });
}

/** Names that are not UTF-8 end here as well: what they were read as is not there. */
const unreadable =
  (path: string) =>
  (error: NodeJS.ErrnoException): never => {
    throw invalid(`${path === "" ? "the folder" : printable(path)} cannot be read (${error.code}).`, error);
  };

async function openTar(path: string, signal?: AbortSignal): Promise<BagSource> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw invalid(`${printable(path)} cannot be read: ${errorMessage(error)}.`, error);
  });
  try {
    return await bagOfTar(handle, signal);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function bagOfTar(handle: FileHandle, signal?: AbortSignal): Promise<BagSource> {
  const files = await indexTar(handle, signal);
  const [first] = files.keys();
  if (first === undefined) throw invalid("the tar file is empty.");
  if (files.has("bagit.txt"))
    throw invalid("the tar file has no folder around its files; pack the bag's folder itself.");
  const folder = first.split("/", 1)[0] ?? "";
  const entries = new Map<string, { bytes: number; offset: number }>();
  for (const [path, file] of files) {
    if (!path.startsWith(`${folder}/`))
      throw invalid(
        `the tar file has more than the folder of a bag: ${printable(folder)} and ${printable(path)}.`,
      );
    entries.set(path.slice(folder.length + 1), file);
  }
  if (!entries.has("bagit.txt"))
    throw invalid(
      `the folder ${printable(folder)} in the tar file has no file bagit.txt, so it is not a bag.`,
    );
  return source(folder, entries, {
    async read(path) {
      const file = entries.get(path);
      if (file === undefined || file.bytes === 0) return Readable.from([]);
      // By its number: a stream of the handle itself would leave a listener on it for each file.
      return createReadStream("", {
        fd: handle.fd,
        // One that is destroyed would close the descriptor that all others read from, whatever autoClose says.
        fs: { read, close: (_, closed) => closed() },
        start: file.offset,
        end: file.offset + file.bytes - 1,
        highWaterMark: chunkBytes,
      });
    },
    close: () => handle.close(),
  });
}

function source(
  name: string,
  entries: BagSource["entries"],
  { read, close }: Pick<BagSource, "read" | "close">,
): BagSource {
  return {
    name,
    entries,
    read: async (path) => {
      if (!entries.has(path)) throw new EctusError("not_found", { what: "file in the bag", id: path });
      return read(path);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function invalid(reason: string, cause?: unknown): EctusError {
  return new EctusError("bag_invalid", { reason }, cause === undefined ? {} : { cause });
}
