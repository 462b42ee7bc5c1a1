// Writes a file of a bag: first its contents into the storage, then its row, which makes it part of the bag. A blob
// without a row is an orphan, which a job removes.
import { newUuid } from "@ectus/core";
import type { Insertable } from "kysely";
import { putExportPart } from "../queries/export-work.ts";
import type { ExportPartRow } from "../queries/exports.ts";
import type { ExportParts } from "../schema.ts";
import type { ExportRun } from "./export-run.ts";

/** What a file is, besides what is known once it was written. */
export type PartFacts = Omit<
  Insertable<ExportParts>,
  "tenant_id" | "export_id" | "blob_id" | "bytes" | "sha256" | "path"
>;

export interface WrittenFile {
  readonly path: string;
  readonly blobId: string;
  readonly bytes: number;
  readonly sha256: string;
}

// More than any file of a bag has: a row has 1 GiB at most, and a part ends soon after its rows are enough. With more, a
// storage of S3 would take larger parts, and so more memory.
const mostBytes = 40 * 1024 ** 3;

/** Stores what `source` gives, without making it part of the bag. */
export async function storeBlob(
  run: ExportRun,
  path: string,
  source: AsyncIterable<Uint8Array>,
): Promise<WrittenFile> {
  const blobId = newUuid();
  const { tenantId } = run.claim;
  const options = { maxBytes: mostBytes, signal: run.signal };
  const digest = await run.store.write(tenantId, blobId, source, options);
  return { path, blobId, ...digest };
}

/** Makes a stored blob part of the bag, in the place of an earlier one. */
export async function addToBag(run: ExportRun, file: WrittenFile, facts: PartFacts): Promise<void> {
  try {
    const replaced = await putExportPart(run.database, run.claim, {
      ...facts,
      path: file.path,
      blob_id: file.blobId,
      bytes: file.bytes,
      sha256: Buffer.from(file.sha256, "hex"),
    });
    if (replaced !== undefined) await removeBlobs(run, [replaced]);
  } catch (error) {
    // Whether the row was committed is not known when the database went away: then the clean-up job decides.
    if (!(error instanceof Error && "code" in error && error.code === "database_unavailable"))
      await removeBlobs(run, [file.blobId]);
    throw error;
  }
}

/** Best effort: what stays is an orphan. */
export async function removeBlobs(
  { store, claim, log }: Pick<ExportRun, "store" | "claim" | "log">,
  blobIds: readonly string[],
): Promise<void> {
  for (const blobId of blobIds) {
    await store
      .remove(claim.tenantId, blobId)
      .catch((error) =>
        log.warn({ err: error, exportId: claim.id }, "a file of an export could not be removed"),
      );
  }
}

/** Whether the blob of an earlier run is there as its row says. */
export async function isStored(run: ExportRun, { blob_id, bytes }: ExportPartRow): Promise<boolean> {
  try {
    return (await run.store.stat(run.claim.tenantId, blob_id)).bytes === bytes;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "not_found") return false;
    throw error;
  }
}
