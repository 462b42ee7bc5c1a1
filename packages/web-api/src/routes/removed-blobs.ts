// Removes blobs that no row names any more, as well as it can be done at once: a job removes what is left.
import type { Logger } from "@ectus/core";
import type { BlobStorage } from "@ectus/storage";

/** Each waits for the disk or for S3, so that several take turns. */
const concurrency = 8;
/** None is begun later, since a client waits: a bag can have a hundred thousand files. */
const mostMs = 10_000;

export async function removeBlobs(
  storage: BlobStorage,
  tenantId: string,
  blobIds: readonly string[],
  log: Logger,
): Promise<void> {
  const until = performance.now() + mostMs;
  const waiting = blobIds.values();
  let removed = 0;
  let failure: unknown;

  async function work(): Promise<void> {
    for (const blobId of waiting) {
      if (performance.now() > until) return;
      try {
        await storage.remove(tenantId, blobId);
        removed += 1;
      } catch (error) {
        failure ??= error;
      }
    }
  }

  await Promise.all(Array.from({ length: concurrency }, work));
  const left = blobIds.length - removed;
  if (failure !== undefined) log.warn({ err: failure, left }, "stored files could not be removed");
  else if (left > 0) log.info({ left }, "stored files are left for a job to remove");
}
