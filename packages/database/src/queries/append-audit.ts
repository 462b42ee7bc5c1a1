// Appends to the audit log, in the transaction that makes the change it tells of.
import { newUuid } from "@ectus/core";
import type { TenantTransaction } from "../database.ts";

export interface AuditEntry {
  readonly tenantId: string;
  readonly actor: { readonly type: "api_key" | "operator" | "system"; readonly id?: string };
  /** What was done, as `api_key.created`. */
  readonly action: string;
  readonly target: { readonly type: string; readonly id?: string };
  readonly requestId?: string;
  /** Facts of the change; never content or secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export async function appendAudit(tx: TenantTransaction, entry: AuditEntry): Promise<void> {
  await tx
    .insertInto("audit_log")
    .values({
      tenant_id: entry.tenantId,
      id: newUuid(),
      actor_type: entry.actor.type,
      actor_id: entry.actor.id ?? null,
      action: entry.action,
      target_type: entry.target.type,
      target_id: entry.target.id ?? null,
      request_id: entry.requestId ?? null,
      details: JSON.stringify(entry.details ?? {}),
    })
    .execute();
}
