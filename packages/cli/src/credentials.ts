// DATA_DIR/credentials.json: what a newcomer and a test need to use an instance that was just started.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { apiKeyDigest, apiKeyPrefix, createApiKey } from "@ectus/core";
import {
  createTenant,
  type Database,
  insertApiKey,
  listTenants,
  platformTenantId,
  type Scope,
} from "@ectus/database";
import { writePrivateFile } from "./instance-secrets.ts";

export interface Credentials {
  readonly baseUrl: string;
  readonly operatorKey: string;
  readonly tenants: readonly {
    readonly id: string;
    readonly name: string;
    readonly adminKey: string;
    readonly key: string;
  }[];
}

const system = { actor: { type: "system" } } as const;
const demoTenant = "Demo";

const credentialsFile = (dataDir: string): string => join(dataDir, "credentials.json");

/** The credentials that an earlier start wrote, if any. */
export async function readCredentials(dataDir: string): Promise<Credentials | undefined> {
  const text = await readFile(credentialsFile(dataDir), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Credentials);
}

/**
 * Makes the operator's key, a demo tenant and its keys on the first start, and writes the file; later only the URL in
 * it may change.
 *
 * @returns undefined when the database has tenants that this folder knows no keys of
 */
export async function ensureCredentials(options: {
  readonly database: Database;
  readonly dataDir: string;
  readonly apiKeySecret: string;
  readonly baseUrl: string;
}): Promise<Credentials | undefined> {
  const { database, dataDir, apiKeySecret, baseUrl } = options;
  const known = await readCredentials(dataDir);
  const tenants = await listTenants(database, { limit: 1 });
  if (known !== undefined && tenants.length > 0) {
    if (known.baseUrl === baseUrl) return known;
    return write(dataDir, { ...known, baseUrl });
  }
  if (tenants.length > 0) return undefined;

  async function makeKey(tenantId: string, name: string, scopes: readonly Scope[]): Promise<string> {
    const key = createApiKey();
    const digest = apiKeyDigest(key, apiKeySecret);
    await insertApiKey(database, { tenantId, name, prefix: apiKeyPrefix(key), digest, scopes }, system);
    return key;
  }

  const operatorKey = await makeKey(platformTenantId, "First operator", ["operator"]);
  const { id, name } = await createTenant(database, { name: demoTenant }, system);
  const adminKey = await makeKey(id, "Demo admin", ["inference", "admin"]);
  const key = await makeKey(id, "Demo", ["inference"]);
  return write(dataDir, { baseUrl, operatorKey, tenants: [{ id, name, adminKey, key }] });
}

async function write(dataDir: string, credentials: Credentials): Promise<Credentials> {
  await writePrivateFile(credentialsFile(dataDir), `${JSON.stringify(credentials, undefined, 2)}\n`);
  return credentials;
}
