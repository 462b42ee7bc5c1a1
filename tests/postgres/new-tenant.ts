// A tenant with a key, as tests need one.
import { randomBytes } from "node:crypto";
import { apiKeyDigest, apiKeyPrefix, createApiKey } from "@ectus/core";
import {
  type ApiKeyRecord,
  createTenant,
  type Database,
  findApiKey,
  insertApiKey,
  type NewApiKey,
  type TenantLimits,
} from "@ectus/database";

/** The secret under which the keys of `newTenant` are stored. */
export const keySecret = "a secret of tests";
export const bySystem = { actor: { type: "system" } } as const;

export interface TestTenant {
  readonly id: string;
  /** The key itself. */
  readonly key: string;
  /** The key as it was found right after it was made. */
  readonly caller: ApiKeyRecord;
}

export async function newTenant(
  database: Database,
  limits: TenantLimits = {},
  keyLimits: Pick<NewApiKey, "requestsPerMinute" | "tokensPerMinute"> = {},
): Promise<TestTenant> {
  const name = `Tenant ${randomBytes(3).toString("hex")}`;
  const { id } = await createTenant(database, { name, ...limits }, bySystem);
  const key = createApiKey();
  const digest = apiKeyDigest(key, keySecret);
  const prefix = apiKeyPrefix(key);
  await insertApiKey(
    database,
    { tenantId: id, name: "Test", prefix, digest, scopes: ["inference"], ...keyLimits },
    bySystem,
  );
  const caller = await findApiKey(database, [digest]);
  if (caller === undefined) throw new Error("the key that was just made is not found");
  return { id, key, caller };
}
