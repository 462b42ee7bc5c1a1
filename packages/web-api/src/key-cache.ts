// API keys that were looked up lately. A change of a key or tenant in the database empties it on every instance by
// notification; while notifications cannot be relied on, every key is looked up anew.
import { hash } from "node:crypto";
import { apiKeyDigest, type Logger } from "@ectus/core";
import { type ApiKeyRecord, type Database, findApiKey, replaceApiKeyDigest } from "@ectus/database";
import { createWait } from "./shared-work.ts";

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
  /** How many keys are remembered; 10,000 by default. */
  readonly mostKeys?: number;
}

const defaultMostKeys = 10_000;
// Of texts that are no keys, so that guesses do not push out keys.
const mostUnknown = 1_000;
// Notifications are known to have arrived up to the last heartbeat, every 250 ms. Older than this, the cache is
// not believed: a revocation must hold within a second.
const mostSilenceMs = 700;
// An entry is looked up again after this time even if nothing was notified.
const mostAgeMs = 60_000;
// How old a look-up in progress may be for another request to share its answer.
const shareMs = 200;

const waitForLookUp = createWait("find_api_key");

interface Entry<Found> {
  readonly record: Found;
  readonly foundAt: number;
}

interface LookUp {
  readonly startedAt: number;
  readonly changes: number;
  readonly answer: Promise<ApiKeyRecord | undefined>;
}

export function createKeyCache(options: KeyCacheOptions): KeyCache {
  const { database, secrets, log, onTenantChange, mostKeys = defaultMostKeys } = options;
  // All keyed by the key's SHA-256, which costs a tenth of an HMAC: keys are random, so it tells nothing of them. A Map
  // keeps insertion order, so the first entry is the oldest.
  const known = new Map<string, Entry<ApiKeyRecord>>();
  const unknown = new Map<string, Entry<undefined>>();
  const lookUps = new Map<string, LookUp>();
  // Keys that this instance has stored under its newest secret. Once is enough: while instances disagree about which
  // secret is the newest, each would otherwise undo what the other did.
  const restored = new Set<string>();
  let changes = 0;

  const listener = database.listen({
    log,
    onGap: () => {
      changes++;
      known.clear();
      unknown.clear();
    },
    handlers: {
      ectus_key_changes: (keyId) => forget(({ record }) => record.keyId === keyId),
      ectus_tenant_changes: (tenantId) => {
        forget(({ record }) => record.tenantId === tenantId);
        onTenantChange?.(tenantId);
      },
    },
  });

  function forget(matches: (entry: Entry<ApiKeyRecord>) => boolean): void {
    changes++;
    for (const [id, entry] of known) if (matches(entry)) known.delete(id);
    // Any of them may be the key that was just made.
    unknown.clear();
  }

  async function lookUp(key: string, id: string): Promise<ApiKeyRecord | undefined> {
    const digest = apiKeyDigest(key, secrets[0]);
    const digests = [digest, ...secrets.slice(1).map((secret) => apiKeyDigest(key, secret))];
    const changesBefore = changes;
    const record = await findApiKey(database, digests);
    // What was read before a notification may be older than what it tells of.
    if (changes === changesBefore) remember(id, record);
    if (record !== undefined && record.digest !== digest.toString("hex")) restore(record, digest);
    return record;
  }

  function remember(id: string, record: ApiKeyRecord | undefined): void {
    known.delete(id);
    unknown.delete(id);
    const foundAt = performance.now();
    if (record === undefined) put(unknown, id, { record, foundAt }, mostUnknown);
    else put(known, id, { record, foundAt }, mostKeys);
  }

  function restore(record: ApiKeyRecord, digest: Buffer): void {
    if (restored.has(record.keyId)) return;
    if (restored.size >= mostKeys) restored.clear();
    restored.add(record.keyId);
    replaceApiKeyDigest(database, record, digest).catch((error) => {
      restored.delete(record.keyId);
      log.warn({ err: error }, "an API key could not be stored under the newest secret");
    });
  }

  // A key that is asked for by many requests at once is looked up once.
  function shared(key: string, id: string, now: number): Promise<ApiKeyRecord | undefined> {
    const running = lookUps.get(id);
    if (running !== undefined && running.changes === changes && now - running.startedAt < shareMs)
      return waitForLookUp(running.answer);
    const answer = lookUp(key, id).finally(() => {
      if (lookUps.get(id)?.answer === answer) lookUps.delete(id);
    });
    lookUps.set(id, { startedAt: now, changes, answer });
    return answer;
  }

  return {
    find(key) {
      const id = hash("sha256", key);
      const now = performance.now();
      const entry = known.get(id) ?? unknown.get(id);
      if (
        entry !== undefined &&
        now - listener.deliveredUpTo() < mostSilenceMs &&
        now - entry.foundAt < mostAgeMs
      ) {
        return Promise.resolve(entry.record);
      }
      return shared(key, id, now);
    },
    close: () => listener.close(),
  };
}

function put<Value>(map: Map<string, Value>, id: string, value: Value, most: number): void {
  map.set(id, value);
  if (map.size > most) map.delete(map.keys().next().value as string);
}
