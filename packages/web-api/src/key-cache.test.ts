import { apiKeyDigest, apiKeyPrefix, createApiKey } from "@ectus/core";
import { type Database, insertApiKey, openDatabase, revokeApiKey, updateTenant } from "@ectus/database";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Connection, connectTo } from "../../../tests/postgres/connect.ts";
import { bySystem, keySecret, newTenant, type TestTenant } from "../../../tests/postgres/new-tenant.ts";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { type StallingProxy, startStallingProxy } from "../../../tests/postgres/stalling-proxy.ts";
import { createTestDatabase, type TestDatabase } from "../../../tests/postgres/test-database.ts";
import { until } from "../../../tests/postgres/until.ts";
import { createKeyCache, type KeyCache, type KeyCacheOptions } from "./key-cache.ts";

const { log, lines } = recordingLog("web-api");
let testDatabase: TestDatabase;
let operator: Database;
let owner: Connection;
const undo: (() => Promise<void>)[] = [];

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  operator = openDatabase({ url: testDatabase.appUrl, poolSize: 2, log });
  owner = await connectTo(testDatabase.ownerUrl);
});
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
afterAll(async () => {
  await owner.end();
  await operator.close();
  await testDatabase.drop();
});

/** A database that counts look-ups and can hold back their answers. */
function countLookUps(database: Database) {
  const counted = { lookUps: 0, held: undefined as Promise<void> | undefined };
  const run: Database["run"] = async (query) => {
    if (query.operation === "find_api_key") counted.lookUps++;
    const rows = await database.run<never>(query);
    if (query.operation === "find_api_key") await counted.held;
    return rows;
  };
  return Object.assign(counted, { database: { ...database, run } });
}

function startReplica(options: Partial<KeyCacheOptions> = {}, url = testDatabase.appUrl) {
  const database = openDatabase({ url, poolSize: 2, log });
  undo.push(() => database.close());
  const counted = countLookUps(database);
  const cache = createKeyCache({ database: counted.database, secrets: [keySecret], log, ...options });
  undo.push(() => cache.close());
  return { cache, counted };
}

/** Asks until answers come from the cache: its notifications are there. */
async function warm({ cache, counted }: ReturnType<typeof startReplica>, key: string): Promise<void> {
  await until(async () => {
    await cache.find(key);
    const before = counted.lookUps;
    await cache.find(key);
    return counted.lookUps === before;
  });
}

const isRevoked = async (cache: KeyCache, key: string) => (await cache.find(key))?.revokedAt != null;

async function revocationTakes(tenant: TestTenant, caches: readonly KeyCache[]): Promise<number> {
  await revokeApiKey(operator, tenant.id, tenant.caller.keyId, bySystem);
  const revokedAt = performance.now();
  await until(async () =>
    (await Promise.all(caches.map((cache) => isRevoked(cache, tenant.key)))).every(Boolean),
  );
  return performance.now() - revokedAt;
}

test("a key that was found is served from memory", async () => {
  const tenant = await newTenant(operator);
  const replica = startReplica();
  await warm(replica, tenant.key);
  const before = replica.counted.lookUps;
  for (let i = 0; i < 100; i++) expect(await replica.cache.find(tenant.key)).toEqual(tenant.caller);
  expect(replica.counted.lookUps).toBe(before);
});

test("a revoked key is refused within one second on every replica", async () => {
  const tenant = await newTenant(operator);
  const replicas = [startReplica(), startReplica()];
  for (const replica of replicas) await warm(replica, tenant.key);
  expect(
    await revocationTakes(
      tenant,
      replicas.map(({ cache }) => cache),
    ),
  ).toBeLessThan(1_000);
});

test("a revoked key is refused within one second though the listening connection was killed right before", async () => {
  const tenant = await newTenant(operator);
  const replicas = [startReplica(), startReplica()];
  for (const replica of replicas) await warm(replica, tenant.key);
  const killed = await owner.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%' or query = 'select 1'",
  );
  expect(killed.rowCount).toBeGreaterThanOrEqual(2);
  expect(
    await revocationTakes(
      tenant,
      replicas.map(({ cache }) => cache),
    ),
  ).toBeLessThan(1_000);
});

test("a revoked key is refused within one second though notifications cannot arrive", async () => {
  const tenant = await newTenant(operator);
  const proxy: StallingProxy = await startStallingProxy(testDatabase.appUrl);
  undo.push(() => proxy.close());
  // Queries go directly, and only the listening connection through what falls silent.
  const direct = openDatabase({ url: testDatabase.appUrl, poolSize: 2, log });
  const stalling = openDatabase({ url: proxy.through(testDatabase.appUrl), poolSize: 1, log });
  undo.push(
    () => direct.close(),
    () => stalling.close(),
  );
  const counted = countLookUps({ ...direct, listen: stalling.listen });
  const cache = createKeyCache({ database: counted.database, secrets: [keySecret], log });
  undo.push(() => cache.close());
  await warm({ cache, counted }, tenant.key);
  proxy.stall();
  expect(await revocationTakes(tenant, [cache])).toBeLessThan(1_000);
});

test("a key that was refused before works at once when it is made", async () => {
  const { id } = await newTenant(operator);
  const replica = startReplica();
  const key = createApiKey();
  await warm(replica, key);
  expect(await replica.cache.find(key)).toBeUndefined();
  const digest = apiKeyDigest(key, keySecret);
  const made = {
    tenantId: id,
    name: "New",
    prefix: apiKeyPrefix(key),
    digest,
    scopes: ["inference"],
  } as const;
  await insertApiKey(operator, made, bySystem);
  const madeAt = performance.now();
  await until(async () => (await replica.cache.find(key)) !== undefined);
  expect(performance.now() - madeAt).toBeLessThan(250);
});

test("a change of a tenant reaches its keys and is passed on", async () => {
  const tenant = await newTenant(operator);
  const changed: string[] = [];
  const replica = startReplica({ onTenantChange: (id) => void changed.push(id) });
  await warm(replica, tenant.key);
  await updateTenant(operator, tenant.id, { state: "suspended" }, bySystem);
  await until(async () => (await replica.cache.find(tenant.key))?.tenantState === "suspended");
  expect(changed).toEqual([tenant.id]);
});

test("a key under an older secret is found, stored under the newest, and then found by it alone", async () => {
  const tenant = await newTenant(operator);
  const rotated = startReplica({ secrets: ["newest", keySecret] });
  expect(await rotated.cache.find(tenant.key)).toMatchObject({ keyId: tenant.caller.keyId });
  const newestAlone = startReplica({ secrets: ["newest"] });
  await until(async () => (await newestAlone.cache.find(tenant.key)) !== undefined);
  expect(await rotated.cache.find(tenant.key)).toMatchObject({ keyId: tenant.caller.keyId });
  expect(await startReplica().cache.find(tenant.key)).toBeUndefined();
});

test("a key that was revoked after its secret was rotated is refused within a second", async () => {
  const tenant = await newTenant(operator);
  const rotated = startReplica({ secrets: ["newest", keySecret] });
  await warm(rotated, tenant.key);
  expect(await revocationTakes(tenant, [rotated.cache])).toBeLessThan(1_000);
});

test("replicas that disagree about the newest secret do not undo each other's work for ever", async () => {
  const tenant = await newTenant(operator);
  const [one, other] = [
    startReplica({ secrets: ["b", keySecret] }),
    startReplica({ secrets: [keySecret, "b"] }),
  ];
  let changes = 0;
  const listener = operator.listen({
    log,
    onGap: () => {},
    handlers: { ectus_key_changes: () => void changes++ },
  });
  undo.push(() => listener.close());
  await listener.ready;
  // Each round gives both the time to undo what the other did.
  for (let round = 0; round < 6; round++) {
    for (const { cache } of [one, other])
      expect(await cache.find(tenant.key)).toMatchObject({ keyId: tenant.caller.keyId });
    const before = changes;
    await until(() => changes > before, 50).catch(() => {});
  }
  expect(changes).toBeLessThanOrEqual(2);
});

test("a digest that cannot be stored anew is in the log, and the key works", async () => {
  const tenant = await newTenant(operator);
  const broken = { ...operator, inTenant: () => Promise.reject(new Error("read-only")) };
  const cache = createKeyCache({ database: broken, secrets: ["newest", keySecret], log });
  undo.push(() => cache.close());
  expect(await cache.find(tenant.key)).toMatchObject({ keyId: tenant.caller.keyId });
  await until(() =>
    lines.some(({ msg }) => msg === "an API key could not be stored under the newest secret"),
  );
});

test("what is remembered is bounded, and guesses do not push out keys", async () => {
  const [first, second, third] = [
    await newTenant(operator),
    await newTenant(operator),
    await newTenant(operator),
  ];
  const replica = startReplica({ mostKeys: 2 });
  for (const { key } of [first, second, third]) await warm(replica, key);
  for (let i = 0; i < 1_100; i++) await replica.cache.find(createApiKey());
  const lookUps = async (key: string) => {
    const before = replica.counted.lookUps;
    await replica.cache.find(key);
    return replica.counted.lookUps - before;
  };
  expect(await lookUps(third.key)).toBe(0);
  expect(await lookUps(second.key)).toBe(0);
  expect(await lookUps(first.key)).toBe(1);
});

test("many requests with the same key at once look it up once", async () => {
  const tenant = await newTenant(operator);
  const { cache, counted } = startReplica();
  const found = await Promise.all(Array.from({ length: 50 }, () => cache.find(tenant.key)));
  expect(new Set(found)).toEqual(new Set([tenant.caller]));
  expect(counted.lookUps).toBe(1);
});

test("an answer that was read before a change and came after it is not remembered", async () => {
  const tenant = await newTenant(operator);
  const replica = startReplica();
  await warm(replica, (await newTenant(operator)).key);
  const gate = Promise.withResolvers<void>();
  replica.counted.held = gate.promise;
  const early = replica.cache.find(tenant.key);
  await until(() => replica.counted.lookUps > 0);
  const seen = Promise.withResolvers<void>();
  const listener = operator.listen({
    log,
    onGap: () => {},
    handlers: { ectus_key_changes: () => seen.resolve() },
  });
  undo.push(() => listener.close());
  await listener.ready;
  await revokeApiKey(operator, tenant.id, tenant.caller.keyId, bySystem);
  await seen.promise;
  replica.counted.held = undefined;
  gate.resolve();
  await early;
  await until(() => isRevoked(replica.cache, tenant.key), 1_000);
});

test("a database that cannot be reached is an error, not a key that does not exist", async () => {
  const { cache } = startReplica({}, "postgres://nobody:nothing@127.0.0.1:1/nowhere");
  await expect(cache.find(createApiKey())).rejects.toMatchObject({ code: "database_unavailable" });
});
