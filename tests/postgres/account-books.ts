// Usage rows for tests, and a look at whether the books of usage, budgets and leases agree.
import { randomUUIDv7 } from "node:crypto";
import type { UsageRow } from "@ectus/database";
import type pg from "pg";
import type { TestTenant } from "./new-tenant.ts";

export function newUsage({ id, caller }: TestTenant, more: Partial<UsageRow> = {}): UsageRow {
  return {
    tenant_id: id,
    id: randomUUIDv7(),
    created_at: new Date().toISOString(),
    api_key_id: caller.keyId,
    request_id: "req-test",
    operation: "chat",
    model: "test-model",
    provider: "test-provider",
    outcome: "completed",
    streamed: false,
    input_tokens: 1,
    output_tokens: 1,
    cached_tokens: null,
    reasoning_tokens: null,
    charged_tokens: 2,
    cost_usd: null,
    duration_ms: 1,
    ...more,
  };
}

/**
 * Where the books disagree: what a month's budget has committed is the sum of the usage rows' charges of that tenant and
 * month in UTC and of the leases. Empty when all is right.
 *
 * @param owner connected as the owner of the schema
 */
export async function findBookFaults(owner: pg.ClientBase): Promise<readonly unknown[]> {
  const { rows } = await owner.query(`
    with used as (
      select tenant_id, date_trunc('month', created_at at time zone 'UTC')::date as month, sum(charged_tokens) as tokens
      from usage group by 1, 2
    ), held as (
      select tenant_id, month, sum(tokens) as tokens from token_leases group by 1, 2
    )
    select coalesce(b.tenant_id, used.tenant_id) as tenant, b.committed, used.tokens as used, held.tokens as held
    from token_budgets b
    full join used on used.tenant_id = b.tenant_id and used.month = b.month
    left join held on held.tenant_id = b.tenant_id and held.month = b.month
    where coalesce(b.committed, 0) <> coalesce(used.tokens, 0) + coalesce(held.tokens, 0)`);
  return rows;
}

/** What a tenant's budgets say, by month. */
export async function readBudgets(
  owner: pg.ClientBase,
  tenantId: string,
): Promise<readonly { month: string; spent: number; leased: number }[]> {
  const { rows } = await owner.query(
    "select month::text, spent::float8, leased::float8 from token_spending where tenant_id = $1 order by month",
    [tenantId],
  );
  return rows;
}
