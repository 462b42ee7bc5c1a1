// What an instance does on a schedule.
import {
  type Database,
  expireExport,
  findExpiredExports,
  type JobDefinition,
  listTenants,
  neededBlobs,
  reclaimLeases,
} from "@ectus/database";
import { runBatch } from "@ectus/monitoring";
import { type BlobStorage, removeBlobs } from "@ectus/storage";
import { SpanKind } from "@opentelemetry/api";
import { removeImportRemains } from "./remove-import-remains.ts";

// An upload writes its contents first and its row after; what is older than this and has no row never gets one.
const unfinishedAfterMs = 60 * 60_000;
const batchSize = 500;
const tenantsTemplate = { name: "tenants", kind: SpanKind.INTERNAL, attributes: {} };

export function maintenanceJobs(database: Database, storage: BlobStorage): JobDefinition[] {
  return [
    {
      name: "reclaim-token-leases",
      cron: "* * * * *",
      run: async () => ({ tokens: await reclaimLeases(database) }),
    },
    {
      name: "remove-orphaned-files",
      cron: "17 * * * *",
      run: (signal) => removeOrphans(database, storage, signal),
    },
    {
      name: "remove-import-remains",
      cron: "37 * * * *",
      run: (signal) => removeImportRemains(database, storage, signal),
    },
    {
      name: "expire-exports",
      cron: "*/5 * * * *",
      run: (signal) => expireExports(database, storage, signal),
    },
  ];
}

/** Removes blobs of files and of exports whose row was never written or is gone. */
export async function removeOrphans(
  database: Database,
  storage: BlobStorage,
  signal: AbortSignal,
  now: () => number = Date.now,
): Promise<{ removed: number; unfinished: number }> {
  const before = new Date(now() - unfinishedAfterMs);
  let removed = 0;
  for await (const tenantIds of tenantsInBatches(database)) {
    removed += await runBatch(tenantsTemplate, async (span) => {
      let removedHere = 0;
      for (const tenantId of tenantIds)
        removedHere += await removeOrphansOf(database, storage, tenantId, before, signal);
      span?.setAttributes({ "ectus.batch.tenants": tenantIds.length, "ectus.batch.removed": removedHere });
      return removedHere;
    });
  }
  return { removed, unfinished: await storage.removeUnfinished(before) };
}

/** Ends exports whose time is over, and removes their contents. */
export async function expireExports(
  database: Database,
  storage: BlobStorage,
  signal: AbortSignal,
): Promise<{ expired: number }> {
  let expired = 0;
  for (;;) {
    const found = await findExpiredExports(database, batchSize);
    for (const { tenantId, id } of found) {
      signal.throwIfAborted();
      const blobs = await expireExport(database, tenantId, id);
      if (blobs === undefined) continue;
      expired++;
      // What is left has no row, so the job above removes it.
      await removeBlobs(storage, tenantId, blobs, signal);
      signal.throwIfAborted();
    }
    if (found.length < batchSize) return { expired };
  }
}

async function removeOrphansOf(
  database: Database,
  storage: BlobStorage,
  tenantId: string,
  before: Date,
  signal: AbortSignal,
): Promise<number> {
  let removed = 0;
  for await (const ids of inBatches(storage.list(tenantId))) {
    signal.throwIfAborted();
    const old = ids.filter((id) => createdAt(id) < before.getTime());
    const needed = await neededBlobs(database, tenantId, old);
    for (const id of old) {
      if (needed.has(id)) continue;
      await storage.remove(tenantId, id);
      removed++;
    }
  }
  return removed;
}

/** A UUIDv7 begins with 48 bits of milliseconds since 1970 (RFC 9562, section 5.7). */
function createdAt(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

async function* tenantsInBatches(database: Database): AsyncGenerator<string[]> {
  let after: string | undefined;
  do {
    const page = await listTenants(database, { limit: batchSize, ...(after === undefined ? {} : { after }) });
    if (page.length > 0) yield page.map(({ id }) => id);
    after = page.at(-1)?.id;
  } while (after !== undefined);
}

async function* inBatches(ids: AsyncIterable<string>): AsyncGenerator<string[]> {
  let batch: string[] = [];
  for await (const id of ids) {
    batch.push(id);
    if (batch.length === batchSize) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}
