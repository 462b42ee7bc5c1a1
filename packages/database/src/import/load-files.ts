// Writes the contents of a bag's files into the storage, and takes them out again when the import fails.
import type { ExportedFile } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import type { ImportConnection } from "./import-connection.ts";
import { importRefused } from "./import-refused.ts";

/** Where files go; the storage of an instance fits. */
export interface ImportedFileStore {
  write(
    tenantId: string,
    blobId: string,
    source: AsyncIterable<Uint8Array>,
    options: { readonly maxBytes: number; readonly signal?: AbortSignal },
  ): Promise<{ readonly bytes: number; readonly sha256: string }>;
  remove(tenantId: string, blobId: string): Promise<void>;
}

/** @throws EctusError `import_refused` when contents are not those that export.json says */
export async function loadFile(
  store: ImportedFileStore,
  tenantId: string,
  file: ExportedFile,
  contents: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const changed = (): EctusError =>
    importRefused(`${file.path} is not the file that export.json says: it was changed since it was checked.`);
  const written = await store
    .write(tenantId, file.id, contents, { maxBytes: file.bytes, signal })
    .catch((error) => {
      throw error instanceof EctusError && error.code === "request_too_large" ? changed() : error;
    });
  if (written.bytes !== file.bytes || written.sha256 !== file.sha256) throw changed();
}

/** Refuses files whose row says other contents than the bag has: each row needs its own. */
export async function compareFiles(
  connection: ImportConnection,
  tenantId: string,
  files: readonly ExportedFile[],
): Promise<void> {
  const rows = await connection.run<{ id: string; bytes: string; sha256: string }>(
    "select id::text, bytes::text, encode(sha256, 'hex') as sha256 from files where tenant_id = $1",
    [tenantId],
  );
  const contents = new Map(files.map((file) => [file.id, file]));
  for (const { id, bytes, sha256 } of rows) {
    const file = contents.get(id);
    if (file === undefined) throw importRefused(`it lists the file ${id}, but has not its contents.`);
    if (String(file.bytes) !== bytes || file.sha256 !== sha256)
      throw importRefused(`the file ${id} has other contents than its row in the table files says.`);
    contents.delete(id);
  }
  for (const id of contents.keys())
    throw importRefused(`it has the contents of the file ${id}, but does not list it.`);
}
