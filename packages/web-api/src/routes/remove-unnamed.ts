// Removes blobs that no row names any more, as well as it can be done at once: a job removes what is left.
import type { Logger } from "@ectus/core";
import { type BlobStorage, removeBlobs } from "@ectus/storage";

/** None is begun later, since a client waits: a bag can have a hundred thousand files. */
const mostMs = 10_000;

export async function removeUnnamed(
  storage: BlobStorage,
  tenantId: string,
  blobIds: readonly string[],
  log: Logger,
): Promise<void> {
  const { left, failure } = await removeBlobs(storage, tenantId, blobIds, AbortSignal.timeout(mostMs));
  if (failure !== undefined) log.warn({ err: failure, left }, "stored files could not be removed");
  else if (left > 0) log.info({ left }, "stored files are left for a job to remove");
}
