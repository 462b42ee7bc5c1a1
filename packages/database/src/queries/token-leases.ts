// Leases of a tenant's monthly tokens: an instance takes a block, spends from it without asking, and gives back the
// rest. The functions behind are in migrations/0002_settlement.sql.
import type { Database } from "../database.ts";

export interface LeaseRequest {
  readonly tenantId: string;
  /** First day of the month in UTC, as `2026-11-01`. */
  readonly month: string;
  readonly instanceId: string;
  /** The least that helps. */
  readonly need: number;
  /** What would be convenient. */
  readonly block: number;
  readonly ttlSeconds: number;
}

/** Takes tokens to spend; `granted` is 0 when less than `need` is left, `remaining` is what was left before. */
export async function leaseTokens(
  database: Database,
  { tenantId, month, instanceId, need, block, ttlSeconds }: LeaseRequest,
): Promise<{ granted: number; remaining: number }> {
  const [row] = await database.run<{ granted: number; remaining: number }>({
    name: "lease_tokens",
    operation: "lease_tokens",
    text: "select granted, remaining from lease_tokens($1, $2, $3, $4, $5, make_interval(secs => $6))",
    values: [tenantId, month, instanceId, need, block, ttlSeconds],
  });
  return row as { granted: number; remaining: number };
}

/** Gives back tokens that are not needed. */
export async function returnTokens(
  database: Database,
  lease: {
    readonly tenantId: string;
    readonly month: string;
    readonly instanceId: string;
    readonly unused: number;
  },
): Promise<void> {
  await database.run({
    name: "return_tokens",
    operation: "return_tokens",
    text: "select return_tokens($1, $2, $3, $4)",
    values: [lease.tenantId, lease.month, lease.instanceId, lease.unused],
  });
}

/** Keeps an instance's leases for another `ttlSeconds`. */
export async function renewLeases(
  database: Database,
  lease: { readonly tenantIds: readonly string[]; readonly instanceId: string; readonly ttlSeconds: number },
): Promise<void> {
  await database.run({
    name: "renew_leases",
    operation: "renew_leases",
    text: "select renew_leases($1, $2, make_interval(secs => $3))",
    values: [`{${lease.tenantIds.join(",")}}`, lease.instanceId, lease.ttlSeconds],
  });
}

/** Takes back the leases of instances that are gone, and returns how many tokens those held. */
export async function reclaimLeases(database: Database): Promise<number> {
  const [row] = await database.run<{ tokens: number }>({
    operation: "reclaim_leases",
    text: "select reclaim_leases() as tokens",
    values: [],
  });
  return row?.tokens ?? 0;
}
