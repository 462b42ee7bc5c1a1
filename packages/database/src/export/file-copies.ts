// Copies the contents of a tenant's files into the bag, so that it stays whole whatever becomes of them, and checks each
// against the digest of its upload.
import type { ExportedFile } from "@ectus/bag";
import { safeExtension } from "@ectus/bag";
import { EctusError } from "@ectus/core";
import { removeExportParts } from "../queries/export-work.ts";
import type { SnapshotReader } from "../snapshot.ts";
import type { ExportRun } from "./export-run.ts";
import { addToBag, isStored, removeBlobs, storeBlob, type WrittenFile } from "./part-writer.ts";
import { writtenTime } from "./written-time.ts";

interface FileOfSnapshot {
  readonly id: string;
  readonly filename: string;
  readonly content_type: string;
  readonly purpose: string;
  readonly bytes: number;
  readonly sha256: Buffer;
  readonly created_at: Date;
}

const filesPerQuery = 500;
// Of a small file nearly all the time is spent waiting for the storage. A large one takes memory, and goes alone.
const mostAtOnce = 8;
const mostBytesAtOnce = 8 * 1024 * 1024;

/** Bytes of the files that an export copies. */
export async function fileBytes(reader: SnapshotReader, run: ExportRun): Promise<number> {
  const [found] = await reader.query<{ bytes: number }>({
    text: `select coalesce(sum(bytes), 0)::bigint as bytes from files where ${inScope}`,
    values: scopeValues(run),
    operation: "export_count",
    table: "files",
  });
  return found?.bytes ?? 0;
}

/** @throws EctusError `export_incomplete` when contents are missing or are not those of the upload */
export async function copyFiles(reader: SnapshotReader, run: ExportRun): Promise<void> {
  const earlier = new Map(
    run.earlier.filter((part) => part.kind === "file").map((part) => [part.source as string, part]),
  );
  let together: FileOfSnapshot[] = [];
  let bytes = 0;
  for await (const file of filesOf(reader, run)) {
    const known = earlier.get(file.id);
    earlier.delete(file.id);
    if (known?.sha256.equals(file.sha256) && known.bytes === file.bytes && (await isStored(run, known))) {
      count(run, file.bytes);
      continue;
    }
    if (together.length === mostAtOnce || bytes + file.bytes > mostBytesAtOnce) {
      await copyTogether(run, together);
      together = [];
      bytes = 0;
    }
    together.push(file);
    bytes += file.bytes;
  }
  await copyTogether(run, together);
  // Of files that were deleted since an earlier run.
  const rest = [...earlier.values()];
  await removeExportParts(run.database, run.claim, rest);
  await removeBlobs(
    run,
    rest.map((part) => part.blob_id),
  );
}

/** What export.json says of each file, in order. */
export async function* exportedFiles(reader: SnapshotReader, run: ExportRun): AsyncGenerator<ExportedFile> {
  for await (const file of filesOf(reader, run)) {
    yield {
      id: file.id,
      path: pathOf(file),
      filename: file.filename,
      contentType: file.content_type,
      purpose: file.purpose,
      bytes: file.bytes,
      sha256: file.sha256.toString("hex"),
      createdAt: writtenTime(file.created_at, `file ${file.id}`),
    };
  }
}

async function* filesOf(reader: SnapshotReader, run: ExportRun): AsyncGenerator<FileOfSnapshot> {
  let after: string | null = null;
  for (;;) {
    const page: FileOfSnapshot[] = await reader.query<FileOfSnapshot>({
      text: `select id, filename, content_type, purpose, bytes, sha256, created_at from files
             where ${inScope} and ($4::uuid is null or id > $4) order by id limit ${filesPerQuery}`,
      values: [...scopeValues(run), after],
      operation: "select",
      table: "files",
    });
    yield* page;
    if (page.length < filesPerQuery) return;
    after = page.at(-1)?.id ?? null;
  }
}

const inScope =
  "tenant_id = $1 and ($2::timestamptz is null or created_at >= $2) and ($3::timestamptz is null or created_at < $3)";

const scopeValues = ({ claim, scope }: ExportRun): unknown[] => [
  claim.tenantId,
  scope.from ?? null,
  scope.to ?? null,
];

const pathOf = ({ id, filename }: FileOfSnapshot): string => `data/files/${id}${safeExtension(filename)}`;

/** Ends when all of them have ended; the first failure is thrown then. */
async function copyTogether(run: ExportRun, files: readonly FileOfSnapshot[]): Promise<void> {
  const copies = await Promise.allSettled(
    files.map(async (file) => ({ file, copy: await storeCopy(run, file) })),
  );
  const failures: unknown[] = [];
  for (const outcome of copies) {
    if (outcome.status === "rejected") {
      failures.push(outcome.reason);
      continue;
    }
    const { file, copy } = outcome.value;
    if (failures.length > 0) await removeBlobs(run, [copy.blobId]);
    else
      try {
        await addToBag(run, copy, { kind: "file", source: file.id });
        const { tenantId, id: exportId } = run.claim;
        run.log.debug({ tenantId, exportId, path: copy.path }, "file copied into an export");
      } catch (error) {
        failures.push(error);
      }
  }
  if (failures.length > 0) throw failures[0];
}

async function storeCopy(run: ExportRun, file: FileOfSnapshot): Promise<WrittenFile> {
  const copy = await storeBlob(
    run,
    pathOf(file),
    paced(run, () => readContents(run, file)),
  );
  if (copy.bytes !== file.bytes || copy.sha256 !== file.sha256.toString("hex")) {
    await removeBlobs(run, [copy.blobId]);
    throw new EctusError("export_incomplete", {
      reason: `the contents of file ${file.id} are not those of its upload (${copy.bytes} bytes with SHA-256 ${copy.sha256}, where ${file.bytes} with ${file.sha256.toString("hex")} were uploaded)`,
    });
  }
  return copy;
}

async function readContents(run: ExportRun, file: FileOfSnapshot): Promise<AsyncIterable<Uint8Array>> {
  const { tenantId } = run.claim;
  try {
    return await run.store.read(tenantId, file.id);
  } catch (error) {
    if (!(error instanceof EctusError && error.code === "not_found")) throw error;
    // It may have been deleted since the snapshot; then a new one does not have it.
    if (!(await isStillThere(run, file.id))) throw new SnapshotOutdated(file.id);
    throw new EctusError(
      "export_incomplete",
      { reason: `the contents of file ${file.id} are missing in the storage` },
      { cause: error },
    );
  }
}

/** A file of the snapshot was deleted, so the export begins again with a new one. */
export class SnapshotOutdated extends Error {
  constructor(fileId: string) {
    super(`file ${fileId} was deleted after the snapshot was taken`);
  }
}

async function isStillThere({ database, claim }: ExportRun, fileId: string): Promise<boolean> {
  const row = await database.inTenant(claim.tenantId, (tx) =>
    tx
      .selectFrom("files")
      .select("id")
      .where("tenant_id", "=", claim.tenantId)
      .where("id", "=", fileId)
      .executeTakeFirst(),
  );
  return row !== undefined;
}

async function* paced(
  run: ExportRun,
  open: () => Promise<AsyncIterable<Uint8Array>>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of await open()) {
    await run.pace(chunk.byteLength);
    count(run, chunk.byteLength);
    yield chunk;
  }
}

function count({ counts }: ExportRun, bytes: number): void {
  counts.bytesDone += bytes;
  counts.fileBytesExpected -= bytes;
}
