// API keys, as the operator manages them. Only digests come here, never keys.
import { EctusError, newUuid } from "@ectus/core";
import type { Selectable } from "kysely";
import type { Database } from "../database.ts";
import { isForeignKeyViolation } from "../database-errors.ts";
import type { ApiKeys } from "../schema.ts";
import { appendAudit } from "./append-audit.ts";
import type { Actor } from "./tenants.ts";

export type ApiKeyRow = Omit<Selectable<ApiKeys>, "digest">;
export type Scope = "inference" | "admin" | "operator";

const shownColumns = [
  "tenant_id",
  "id",
  "name",
  "prefix",
  "scopes",
  "requests_per_minute",
  "tokens_per_minute",
  "created_at",
  "expires_at",
  "revoked_at",
  "last_used_at",
] as const;

export interface NewApiKey {
  readonly tenantId: string;
  readonly name: string;
  readonly prefix: string;
  readonly digest: Buffer;
  readonly scopes: readonly Scope[];
  readonly expiresAt?: Date | null;
  readonly requestsPerMinute?: number | null;
  readonly tokensPerMinute?: number | null;
}

/** @throws EctusError `not_found` when there is no such tenant */
export async function insertApiKey(database: Database, key: NewApiKey, actor: Actor): Promise<ApiKeyRow> {
  const id = newUuid();
  const inserted = database.inTenant(key.tenantId, async (tx) => {
    const row = await tx
      .insertInto("api_keys")
      .values({
        tenant_id: key.tenantId,
        id,
        name: key.name,
        prefix: key.prefix,
        digest: key.digest,
        scopes: [...key.scopes],
        expires_at: key.expiresAt ?? null,
        requests_per_minute: key.requestsPerMinute ?? null,
        tokens_per_minute: key.tokensPerMinute ?? null,
      })
      .returning(shownColumns)
      .executeTakeFirstOrThrow();
    await appendAudit(tx, {
      ...actor,
      tenantId: key.tenantId,
      action: "api_key.created",
      target: { type: "api_key", id },
      details: { name: key.name, scopes: key.scopes },
    });
    return row;
  });
  return inserted.catch((error) => {
    throw isForeignKeyViolation(error)
      ? new EctusError("not_found", { what: "tenant", id: key.tenantId }, { cause: error })
      : error;
  });
}

export function listApiKeys(database: Database, tenantId: string): Promise<ApiKeyRow[]> {
  return database.inTenant(tenantId, (tx) =>
    tx.selectFrom("api_keys").select(shownColumns).where("tenant_id", "=", tenantId).orderBy("id").execute(),
  );
}

/**
 * Revokes a key for good; every instance refuses it within a second. Doing it twice changes nothing.
 *
 * @throws EctusError `not_found`
 */
export function revokeApiKey(
  database: Database,
  tenantId: string,
  id: string,
  actor: Actor,
): Promise<ApiKeyRow> {
  return database.inTenant(tenantId, async (tx) => {
    const row = await tx
      .selectFrom("api_keys")
      .select(shownColumns)
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) throw new EctusError("not_found", { what: "API key", id });
    if (row.revoked_at !== null) return row;
    const revoked_at = new Date();
    await tx
      .updateTable("api_keys")
      .set({ revoked_at })
      .where("tenant_id", "=", tenantId)
      .where("id", "=", id)
      .execute();
    await appendAudit(tx, { ...actor, tenantId, action: "api_key.revoked", target: { type: "api_key", id } });
    return { ...row, revoked_at };
  });
}

/** Stores a key's digest under the newest secret, after it was found under an older one in `found`. */
export async function replaceApiKeyDigest(
  database: Database,
  found: {
    readonly tenantId: string;
    readonly keyId: string;
    readonly digest: string;
  },
  digest: Buffer,
): Promise<void> {
  await database.inTenant(found.tenantId, (tx) =>
    tx
      .updateTable("api_keys")
      .set({ digest })
      .where("tenant_id", "=", found.tenantId)
      .where("id", "=", found.keyId)
      // Another instance may have done it meanwhile.
      .where("digest", "=", Buffer.from(found.digest, "hex"))
      .execute(),
  );
}
