// Makes DATA_DIR/credentials.json: what a newcomer and a test need to use an instance that was just started.
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { apiKeyDigest, apiKeyPrefix, createApiKey } from "@ectus/core";
import {
  createTenant,
  type Database,
  findApiKey,
  insertApiKey,
  listApiKeys,
  listTenants,
  platformTenantId,
  type Scope,
  type TenantRecord,
  underAdvisoryLock,
} from "@ectus/database";
import { type Credentials, credentialsFile, readCredentials } from "./credentials-file.ts";
import { writePrivateFile } from "./instance-secrets.ts";

export interface EnsureCredentialsOptions {
  readonly database: Database;
  readonly dataDir: string;
  /** Secrets of API keys, the newest first. */
  readonly apiKeySecrets: readonly [string, ...string[]];
  readonly baseUrl: string;
  readonly metricsUrl: string | undefined;
}

const system = { actor: { type: "system" } } as const;
const demoTenant = "Demo";

// Has its name until all keys in it are in the database, so that a first start that was cut off is taken up again.
const unfinishedFile = (dataDir: string): string => join(dataDir, "credentials.unfinished.json");

/**
 * Makes the operator's key, a demo tenant and its keys on the first start, and writes the file; later only the URLs
 * in it may change. A start that was cut off in between is completed by the next one.
 *
 * @returns undefined when the database has tenants that this folder knows no valid keys of
 */
export async function ensureCredentials(options: EnsureCredentialsOptions): Promise<Credentials | undefined> {
  const { database, dataDir, baseUrl, metricsUrl } = options;
  const known = await readCredentials(credentialsFile(dataDir));
  if (known !== undefined && (await isValid(known, options))) {
    if (known.baseUrl === baseUrl && known.metricsUrl === metricsUrl) return known;
    const moved = { ...known, baseUrl, metricsUrl };
    await write(credentialsFile(dataDir), moved);
    return moved;
  }
  // Several instances may make their first start at once.
  return underAdvisoryLock(database, "first start", () => makeCredentials(options));
}

/** Whether the demo tenant's key works on this database. */
async function isValid({ tenants }: Credentials, options: EnsureCredentialsOptions): Promise<boolean> {
  const key = tenants[0]?.key ?? "";
  const digests = options.apiKeySecrets.map((secret) => apiKeyDigest(key, secret));
  const found = await findApiKey(options.database, digests);
  return found !== undefined && found.revokedAt === null;
}

async function makeCredentials(options: EnsureCredentialsOptions): Promise<Credentials | undefined> {
  const { database, dataDir, baseUrl, metricsUrl } = options;
  const begun = await readCredentials(unfinishedFile(dataDir));
  const tenant = await findOrMakeDemoTenant(database, begun?.tenants[0]?.id);
  if (tenant === undefined) return undefined;
  const { id, name } = tenant;
  const keys =
    begun?.tenants[0]?.id === id
      ? { operatorKey: begun.operatorKey, tenants: begun.tenants }
      : {
          operatorKey: createApiKey(),
          tenants: [{ id, name, adminKey: createApiKey(), key: createApiKey() }],
        };
  const credentials: Credentials = { baseUrl, metricsUrl, ...keys };
  await write(unfinishedFile(dataDir), credentials);
  await ensureKey(options, credentials.operatorKey, platformTenantId, "First operator", ["operator"]);
  for (const { adminKey, key } of credentials.tenants) {
    await ensureKey(options, adminKey, id, "Demo admin", ["inference", "admin"]);
    await ensureKey(options, key, id, "Demo", ["inference"]);
  }
  await rename(unfinishedFile(dataDir), credentialsFile(dataDir));
  return credentials;
}

/** The demo tenant that a first start needs; undefined on a database that others use already. */
async function findOrMakeDemoTenant(
  database: Database,
  begunId: string | undefined,
): Promise<TenantRecord | undefined> {
  const [first, second] = await listTenants(database, { limit: 2 });
  if (first === undefined) return createTenant(database, { name: demoTenant }, system);
  if (first.id === begunId) return first;
  const unfinished =
    second === undefined &&
    first.name === demoTenant &&
    (await listApiKeys(database, platformTenantId)).length === 0 &&
    (await listApiKeys(database, first.id)).length === 0;
  return unfinished ? first : undefined;
}

async function ensureKey(
  { database, apiKeySecrets }: EnsureCredentialsOptions,
  key: string,
  tenantId: string,
  name: string,
  scopes: readonly Scope[],
): Promise<void> {
  const digest = apiKeyDigest(key, apiKeySecrets[0]);
  if ((await findApiKey(database, [digest])) !== undefined) return;
  await insertApiKey(database, { tenantId, name, prefix: apiKeyPrefix(key), digest, scopes }, system);
}

function write(file: string, credentials: Credentials): Promise<void> {
  return writePrivateFile(file, `${JSON.stringify(credentials, undefined, 2)}\n`);
}
