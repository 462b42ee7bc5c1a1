// Looks up an API key by its digests, across tenants: the one query that needs no tenant in scope.
import type { Database } from "../database.ts";

export interface ApiKeyRecord {
  readonly tenantId: string;
  readonly keyId: string;
  /** The digest that matched, in hex. */
  readonly digest: string;
  readonly scopes: readonly string[];
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  readonly tenantState: "active" | "suspended";
  /** Of this key, or of its tenant for each key; null is no limit. */
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly monthlyTokenBudget: number | null;
}

/**
 * Finds the key that has one of `digests`: one for each secret in force.
 *
 * @returns undefined when there is none
 */
export async function findApiKey(
  database: Database,
  digests: readonly Buffer[],
): Promise<ApiKeyRecord | undefined> {
  const [row] = await database.run<ApiKeyRecord>({
    name: "find_api_key",
    operation: "find_api_key",
    table: "api_keys",
    text: `
      select tenant_id as "tenantId", key_id as "keyId", encode(digest, 'hex') as digest, scopes,
             expires_at as "expiresAt", revoked_at as "revokedAt", tenant_state as "tenantState",
             requests_per_minute as "requestsPerMinute", tokens_per_minute as "tokensPerMinute",
             monthly_token_budget as "monthlyTokenBudget"
      from find_api_key($1)`,
    values: [digests],
  });
  return row;
}
