// API keys that were looked up lately. A change of a key or tenant in the database empties it on every instance by
// notification; while notifications cannot be relied on, every key is looked up anew.
import { apiKeyDigest, type Logger } from "@ectus/core";
import { type ApiKeyRecord, type Database, findApiKey, replaceApiKeyDigest } from "@ectus/database";

export interface KeyCache {
  /** The key's record, or undefined if there is no such key. It may be revoked or expired: see its fields. */
  find(key: string): Promise<ApiKeyRecord | undefined>;
  close(): Promise<void>;
}

export interface KeyCacheOptions {
  readonly database: Database;
  /** Secrets under which digests are made, the newest first. */
  readonly secrets: readonly [string, ...string[]];
  readonly log: Logger;
  /** Called with the tenant whose limits or state changed. */
  readonly onTenantChange?: (tenantId: string) => void;
}

const mostEntries = 10_000;
// Notifications are known to have arrived up to the last heartbeat, every 250 ms. Older than this, the cache is
// not believed: a revocation must hold within a second.
const mostSilenceMs = 700;
// An entry is looked up again after this time even if nothing was notified.
const mostAgeMs = 60_000;

interface Entry {
  readonly record: ApiKeyRecord | undefined;
  readonly foundAt: number;
}

export function createKeyCache({ database, secrets, log, onTenantChange }: KeyCacheOptions): KeyCache {
  // Keyed by the digest under the newest secret; a Map keeps insertion order, so the first entry is the oldest.
  const entries = new Map<string, Entry>();
  let changes = 0;

  const listener = database.listen({
    log,
    onGap: clear,
    handlers: {
      ectus_key_changes: (digest) => {
        changes++;
        for (const [id, { record }] of entries)
          if (record === undefined || record.digest === digest) entries.delete(id);
      },
      ectus_tenant_changes: (tenantId) => {
        changes++;
        for (const [id, { record }] of entries) if (record?.tenantId === tenantId) entries.delete(id);
        onTenantChange?.(tenantId);
      },
    },
  });

  function clear(): void {
    changes++;
    entries.clear();
  }

  async function lookUp(key: string, digest: Buffer, id: string): Promise<ApiKeyRecord | undefined> {
    const digests = [digest, ...secrets.slice(1).map((secret) => apiKeyDigest(key, secret))];
    const changesBefore = changes;
    const record = await findApiKey(database, digests);
    // What was read before a notification may be older than what it tells of.
    if (changes === changesBefore) {
      entries.delete(id);
      entries.set(id, { record, foundAt: performance.now() });
      if (entries.size > mostEntries) entries.delete(entries.keys().next().value as string);
    }
    if (record !== undefined && record.digest !== digest.toString("hex")) {
      replaceApiKeyDigest(database, { ...record, digest }).catch((error) =>
        log.warn({ err: error }, "an API key could not be stored under the newest secret"),
      );
    }
    return record;
  }

  return {
    find(key) {
      const digest = apiKeyDigest(key, secrets[0]);
      const id = digest.toString("latin1");
      const entry = entries.get(id);
      const now = performance.now();
      if (
        entry !== undefined &&
        now - listener.deliveredUpTo() < mostSilenceMs &&
        now - entry.foundAt < mostAgeMs
      ) {
        return Promise.resolve(entry.record);
      }
      return lookUp(key, digest, id);
    },
    close: () => listener.close(),
  };
}
