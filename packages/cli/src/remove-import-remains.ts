// Removes what an import that was killed left in the storage: its tenant never came to be, so no job looks there.
import { type Database, findUnfinishedImports, whileNotImported } from "@ectus/database";
import type { BlobStorage } from "@ectus/storage";

// Few, since the tenant is locked meanwhile, by a transaction that the server ends when it is idle for long.
const batchSize = 100;

export async function removeImportRemains(
  database: Database,
  storage: BlobStorage,
  signal: AbortSignal,
): Promise<{ removed: number }> {
  let removed = 0;
  for (const tenantId of await findUnfinishedImports(database)) {
    let batch: string[] = [];
    const removeBatch = async (): Promise<boolean> => {
      const ids = batch;
      batch = [];
      const done = await whileNotImported(database, tenantId, async () => {
        for (const id of ids) await storage.remove(tenantId, id);
        return true;
      });
      if (done === true) removed += ids.length;
      return done === true;
    };
    for await (const id of storage.list(tenantId)) {
      signal.throwIfAborted();
      batch.push(id);
      // The tenant is being imported, or was: what is stored may be needed.
      if (batch.length === batchSize && !(await removeBatch())) break;
    }
    if (batch.length > 0) await removeBatch();
  }
  return { removed };
}
