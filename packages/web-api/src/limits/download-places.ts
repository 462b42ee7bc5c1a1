// How many downloads a caller may have at a time in this process. Each holds a file or a connection to S3 open, and
// about 1 MiB of memory, for as long as its client likes to take.
import { EctusError } from "@ectus/core";

export interface DownloadPlaces {
  /**
   * Gives what gives the place back.
   *
   * @throws EctusError `overloaded`
   */
  take(tenantId: string): () => void;
}

/** A fraction of the connections to S3, which all tenants share; clients that load in segments take 16. */
const mostAtATime = 32;
const retryAfterSeconds = 5;

export function createDownloadPlaces(): DownloadPlaces {
  const taken = new Map<string, number>();
  return {
    take(tenantId) {
      const others = taken.get(tenantId) ?? 0;
      if (others >= mostAtATime)
        throw new EctusError("overloaded", {
          what: `one of the ${mostAtATime} downloads that a tenant may have at a time`,
          retryAfterSeconds,
        });
      taken.set(tenantId, others + 1);
      return () => {
        const left = (taken.get(tenantId) ?? 0) - 1;
        if (left > 0) taken.set(tenantId, left);
        else taken.delete(tenantId);
      };
    },
  };
}
