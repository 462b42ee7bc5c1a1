// Leases of a tenant's monthly tokens: an instance takes a block, spends from it without asking, and gives back the
// rest. The functions behind are in migrations/0002_settlement.sql.
import type { Database } from "../database.ts";

/** Whose tokens: those that an instance holds of a tenant's month. */
export interface LeaseId {
  readonly tenantId: string;
  /** First day of the month in UTC, as `2026-11-01`. */
  readonly month: string;
  readonly instanceId: string;
}

export interface LeaseRequest extends LeaseId {
  /** What the instance knows itself to hold; anything beyond got lost on the way and goes back. */
  readonly held: number;
  /** The least that helps. */
  readonly need: number;
  /** What would be convenient. */
  readonly block: number;
  readonly ttlSeconds: number;
}

export interface LeaseAnswer {
  /** 0 when less than `need` is left. */
  readonly granted: number;
  /** What was left before. */
  readonly remaining: number;
  /** False when the instance had no lease, or not any more: what it held is gone. */
  readonly kept: boolean;
}

/** Takes tokens to spend. */
export async function leaseTokens(
  database: Database,
  { tenantId, month, instanceId, held, need, block, ttlSeconds }: LeaseRequest,
): Promise<LeaseAnswer> {
  const [row] = await database.run<LeaseAnswer>({
    name: "lease_tokens",
    operation: "lease_tokens",
    table: "token_leases",
    text: "select granted, remaining, kept from lease_tokens($1, $2, $3, $4, $5, $6, make_interval(secs => $7))",
    values: [tenantId, month, instanceId, held, need, block, ttlSeconds],
  });
  return row as LeaseAnswer;
}

/** Gives back what the instance holds beyond `keep`. */
export async function returnTokens(
  database: Database,
  { tenantId, month, instanceId, keep }: LeaseId & { readonly keep: number },
): Promise<void> {
  await database.run({
    name: "return_tokens",
    operation: "return_tokens",
    table: "token_leases",
    text: "select return_tokens($1, $2, $3, $4)",
    values: [tenantId, month, instanceId, keep],
  });
}

/** Keeps an instance's leases of these tenants for another `ttlSeconds`, and returns those that it still has. */
export async function renewLeases(
  database: Database,
  lease: { readonly tenantIds: readonly string[]; readonly instanceId: string; readonly ttlSeconds: number },
): Promise<{ tenantId: string; month: string }[]> {
  return database.run<{ tenantId: string; month: string }>({
    name: "renew_leases",
    operation: "renew_leases",
    table: "token_leases",
    text: `
      select renewed_tenant as "tenantId", renewed_month as month
      from renew_leases($1, $2, make_interval(secs => $3))`,
    values: [`{${lease.tenantIds.join(",")}}`, lease.instanceId, lease.ttlSeconds],
  });
}

/** Takes back the leases of instances that are gone, and returns how many tokens those held. */
export async function reclaimLeases(database: Database): Promise<number> {
  let total = 0;
  for (;;) {
    const [row] = await database.run<{ tokens: number | null }>({
      name: "reclaim_lease",
      operation: "reclaim_lease",
      table: "token_leases",
      text: "select reclaim_lease() as tokens",
      values: [],
    });
    if (row?.tokens == null) return total;
    total += row.tokens;
  }
}

/** What a tenant has spent of a month, by usage that is settled. */
export async function spentTokens(database: Database, tenantId: string, month: string): Promise<number> {
  const row = await database.inTenant(tenantId, (tx) =>
    tx
      .selectFrom("token_spending")
      .select("spent")
      .where("tenant_id", "=", tenantId)
      .where("month", "=", month)
      .executeTakeFirst(),
  );
  return row?.spent ?? 0;
}
