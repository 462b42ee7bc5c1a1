// A bag as files in memory, read from the storage by the rows of its parts: for tests that look at what an export wrote
// without the program's own reader.
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { type Database, listExportParts } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";

export type BagFiles = ReadonlyMap<string, Buffer>;

/** Every file of an export's bag by its path. */
export async function readBag(
  database: Database,
  storage: BlobStorage,
  tenantId: string,
  exportId: string,
): Promise<BagFiles> {
  const files = new Map<string, Buffer>();
  for (const { path, blob_id } of await listExportParts(database, tenantId, exportId))
    files.set(path, await buffer(await storage.read(tenantId, blob_id)));
  return files;
}

/** Writes a bag to a folder. */
export async function writeBag(files: BagFiles, folder: string): Promise<void> {
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
}

/** The text of all parts below a folder of the bag, in order. */
export function readParts(files: BagFiles, folder: string): readonly string[] {
  return [...files]
    .filter(([path]) => path.startsWith(folder))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, bytes]) => decompress(path, bytes).toString());
}

export function decompress(path: string, bytes: Buffer): Buffer {
  if (path.endsWith(".gz")) return gunzipSync(bytes);
  if (path.endsWith(".zst")) return zstdDecompressSync(bytes);
  return bytes;
}

/** The rows of NDJSON parts. */
// biome-ignore lint/suspicious/noExplicitAny: a test says by its assertions what a row is.
export function readRows(files: BagFiles, folder: string): readonly any[] {
  return readParts(files, folder).flatMap((text) =>
    text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line)),
  );
}

/** The rows of CSV parts as Python's csv module reads them, the header of each first. */
export function readCsv(files: BagFiles, folder: string): readonly (readonly (readonly string[])[])[] {
  const program =
    "import csv,sys,json; csv.field_size_limit(2**31-1); print(json.dumps(list(csv.reader(open(0, newline='', encoding='utf-8'), strict=True))))";
  return readParts(files, folder).map((text) =>
    JSON.parse(execFileSync("python3", ["-c", program], { input: text, maxBuffer: 1e9 }).toString()),
  );
}
