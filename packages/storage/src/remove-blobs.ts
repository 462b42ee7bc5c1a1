// Removes many blobs, as those of a bag, which can be a hundred thousand.
import type { BlobStorage } from "./storage.ts";

export interface RemovedBlobs {
  /** How many are still there. */
  readonly left: number;
  /** Why one could not be removed; undefined if none failed. */
  readonly failure: unknown;
}

// Each waits for the disk or for S3, so that several take turns.
const atOnce = 8;

/** Stops at the first that fails, since the next would wait for as long, and when the signal says so. Does not reject. */
export async function removeBlobs(
  storage: Pick<BlobStorage, "remove">,
  tenantId: string,
  blobIds: readonly string[],
  signal: AbortSignal,
): Promise<RemovedBlobs> {
  const waiting = blobIds.values();
  let removed = 0;
  let failure: unknown;

  async function work(): Promise<void> {
    for (const blobId of waiting) {
      if (signal.aborted || failure !== undefined) return;
      try {
        await storage.remove(tenantId, blobId);
        removed += 1;
      } catch (error) {
        failure ??= error;
      }
    }
  }

  await Promise.all(Array.from({ length: atOnce }, work));
  return { left: blobIds.length - removed, failure };
}
