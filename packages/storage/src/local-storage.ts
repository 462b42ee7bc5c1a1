// Blobs in a local folder: one folder a tenant, one file a blob, named by their UUIDs. A blob appears whole or not at
// all: it is written to a temporary file beside its place, synced, then renamed.
import { randomUUID } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { access, type FileHandle, lstat, mkdir, open, opendir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { EctusError, errorMessage } from "@ectus/core";
import { checkId, checkRange, isId } from "./blob-ids.ts";
import { openSource } from "./blob-source.ts";
import type { BlobDigest, BlobStorage, WriteOptions } from "./storage.ts";

/** Opens the folder, which is made if it is missing. */
export async function createLocalStorage(folder: URL): Promise<BlobStorage> {
  const root = fileURLToPath(folder);
  await onDisk(async () => {
    await mkdir(root, { recursive: true, mode: 0o700 });
    await access(root, constants.W_OK | constants.X_OK);
  });

  return {
    write: (tenantId, blobId, source, options) => write(root, tenantId, blobId, source, options),

    async read(tenantId, blobId, range = {}) {
      checkRange(range);
      const path = blobPath(root, tenantId, blobId);
      const { handle, stats } = await openBlob(root, tenantId, blobId, path);
      const left = Math.min(range.end ?? stats.size, stats.size) - (range.start ?? 0);
      return handle.createReadStream({
        ...range,
        autoClose: true,
        highWaterMark: Math.min(Math.max(left, leastReadBytes), mostReadBytes),
      });
    },

    async open(tenantId, blobId) {
      const path = blobPath(root, tenantId, blobId);
      const { handle, stats } = await openBlob(root, tenantId, blobId, path);
      return {
        bytes: stats.size,
        read: (into, position) =>
          onDisk(async () => (await handle.read(into, 0, into.byteLength, position)).bytesRead),
        close: () => handle.close(),
      };
    },

    async stat(tenantId, blobId) {
      const path = blobPath(root, tenantId, blobId);
      const { handle, stats } = await openBlob(root, tenantId, blobId, path);
      await handle.close();
      return { bytes: stats.size };
    },

    async remove(tenantId, blobId) {
      const path = blobPath(root, tenantId, blobId);
      await onDisk(async () => {
        if (!(await isTenantFolder(root, tenantId))) return;
        await unlink(path).catch(ignoreMissing);
        await syncFolder(tenantPath(root, tenantId));
      });
    },

    async *list(tenantId) {
      const path = tenantPath(root, tenantId);
      if (!(await onDisk(() => isTenantFolder(root, tenantId)))) return;
      const folder = await onDisk(() => opendir(path));
      try {
        while (true) {
          const entry = await onDisk(() => folder.read());
          if (entry === null) return;
          if (entry.isFile() && isId(entry.name)) yield entry.name;
        }
      } finally {
        await folder.close();
      }
    },

    removeUnfinished: (before) => onDisk(() => removeUnfinished(root, before)),
  };
}

const temporarySuffix = ".tmp";
// A buffer of this size is taken for each read: large ones make fast downloads, and small blobs need none.
const leastReadBytes = 16 * 1024;
const mostReadBytes = 512 * 1024;

async function write(
  root: string,
  tenantId: string,
  blobId: string,
  source: AsyncIterable<Uint8Array>,
  options: WriteOptions,
): Promise<BlobDigest> {
  // A source that fails while no one reads from it yet must not end the process; reading it later throws its error.
  if (source instanceof Readable) source.on("error", ignore);
  let handle: FileHandle | undefined;
  let temporary = "";
  try {
    const folder = tenantPath(root, tenantId);
    const path = blobPath(root, tenantId, blobId);
    temporary = join(folder, `${randomUUID()}${temporarySuffix}`);
    options.signal?.throwIfAborted();
    handle = await onDisk(async () => {
      await makeTenantFolder(root, tenantId);
      return open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    });
    const written = handle;
    const { pieces, digest } = openSource(source, options);
    for await (const piece of pieces) await onDisk(() => written.writeFile(piece));
    await onDisk(async () => {
      await written.sync();
      await written.close();
      await rename(temporary, path);
      await syncFolder(folder);
    });
    return digest();
  } catch (error) {
    if (source instanceof Readable) source.destroy();
    if (handle !== undefined) {
      await handle.close().catch(ignore);
      await unlink(temporary).catch(ignore);
    }
    throw error;
  }
}

async function removeUnfinished(root: string, before: Date): Promise<number> {
  let removed = 0;
  for await (const tenant of await opendir(root)) {
    if (!tenant.isDirectory() || !isId(tenant.name)) continue;
    const folder = join(root, tenant.name);
    for await (const { name } of await opendir(folder)) {
      if (!isTemporary(name)) continue;
      const path = join(folder, name);
      const found = await lstat(path).catch(ignoreMissing);
      if (found === undefined || found.mtime >= before) continue;
      await unlink(path).catch(ignoreMissing);
      removed += 1;
    }
  }
  return removed;
}

function isTemporary(name: string): boolean {
  return name.endsWith(temporarySuffix) && isId(name.slice(0, -temporarySuffix.length));
}

function tenantPath(root: string, tenantId: string): string {
  return join(root, checkId(tenantId));
}

function blobPath(root: string, tenantId: string, blobId: string): string {
  return join(tenantPath(root, tenantId), checkId(blobId));
}

async function openBlob(
  root: string,
  tenantId: string,
  blobId: string,
  path: string,
): Promise<{ readonly handle: FileHandle; readonly stats: Stats }> {
  return onDisk(async () => {
    const found = (await isTenantFolder(root, tenantId))
      ? // O_NONBLOCK, or opening a pipe would wait for its other end.
        await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
          ignoreMissing,
        )
      : undefined;
    if (found === undefined) throw new EctusError("not_found", { what: "file", id: blobId });
    const stats = await found.stat();
    if (stats.isFile()) return { handle: found, stats };
    await found.close();
    throw new EctusError("storage_error", { reason: `${path} is not a regular file` });
  });
}

async function makeTenantFolder(root: string, tenantId: string): Promise<void> {
  if (await isTenantFolder(root, tenantId)) return;
  await mkdir(tenantPath(root, tenantId), { recursive: true, mode: 0o700 });
  await syncFolder(root);
}

/** False if there is none. A symbolic link in its place would lead out of the storage and is refused. */
async function isTenantFolder(root: string, tenantId: string): Promise<boolean> {
  const path = tenantPath(root, tenantId);
  const found = await lstat(path).catch(ignoreMissing);
  if (found !== undefined && !found.isDirectory()) {
    throw new EctusError("storage_error", { reason: `${path} is not a folder` });
  }
  return found !== undefined;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Runs work that fails only because of the disk, and gives such a failure its code. */
async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof EctusError) throw error;
    const code = codeOf(error);
    if (code === "ENOSPC" || code === "EDQUOT") throw new EctusError("storage_full", {}, { cause: error });
    throw new EctusError("storage_error", { reason: errorMessage(error) }, { cause: error });
  }
}

function ignore(): void {}

function ignoreMissing(error: unknown): undefined {
  if (codeOf(error) !== "ENOENT") throw error;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
