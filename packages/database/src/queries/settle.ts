// Writes finished requests in one transaction: usage, budget, stored completion, last use of the key. The function
// behind is in migrations/0002_settlement.sql; sending a settlement again changes nothing.
import type { Database } from "../database.ts";

export interface UsageRow {
  readonly tenant_id: string;
  readonly id: string;
  /** RFC 3339 in UTC: it decides the month. */
  readonly created_at: string;
  readonly api_key_id: string;
  readonly request_id: string;
  readonly operation: "chat" | "embeddings";
  readonly model: string;
  readonly provider: string;
  readonly outcome: "completed" | "client_closed" | "interrupted";
  readonly streamed: boolean;
  /** Null where the provider did not say. */
  readonly input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly cached_tokens: number | null;
  readonly reasoning_tokens: number | null;
  readonly charged_tokens: number;
  /** Decimal text, or null where tokens or price are unknown. */
  readonly cost_usd: string | null;
  readonly duration_ms: number;
}

export interface CompletionRow {
  readonly tenant_id: string;
  readonly id: string;
  readonly created_at: string;
  readonly model: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly end_user: string | null;
  readonly request: object;
  readonly response: object;
  readonly nul_replaced: boolean;
}

export interface MessageRow {
  readonly tenant_id: string;
  readonly completion_id: string;
  readonly position: number;
  readonly direction: "input" | "output";
  readonly role: string;
  readonly body: object;
  readonly finish_reason: string | null;
  readonly logprobs: unknown;
}

/** What one request leaves behind. */
export interface Settlement {
  readonly usage: UsageRow;
  /** How many of the charged tokens this instance had leased: the lease gets smaller by them. None by default. */
  readonly leasedTokens?: number;
  readonly completion?: { readonly row: CompletionRow; readonly messages: readonly MessageRow[] };
  /** Whether the key's last use should be written now. */
  readonly touchKey: boolean;
}

/** Settles requests of any tenants; resolves when it is committed. */
export async function settle(
  database: Database,
  instanceId: string,
  settlements: readonly Settlement[],
): Promise<void> {
  const tenants = new Set<string>();
  const usage: UsageRow[] = [];
  const leases = new Map<string, { tenant_id: string; month: string; tokens: number }>();
  const keys: { tenant_id: string; id: string }[] = [];
  const completions: CompletionRow[] = [];
  const messages: MessageRow[] = [];
  for (const settlement of settlements) {
    const { tenant_id, api_key_id } = settlement.usage;
    tenants.add(tenant_id);
    usage.push(settlement.usage);
    if (settlement.leasedTokens) {
      // In UTC, as the function counts months too.
      const month = `${settlement.usage.created_at.slice(0, 7)}-01`;
      const lease = leases.get(tenant_id + month) ?? { tenant_id, month, tokens: 0 };
      lease.tokens += settlement.leasedTokens;
      leases.set(tenant_id + month, lease);
    }
    if (settlement.touchKey) keys.push({ tenant_id, id: api_key_id });
    if (settlement.completion !== undefined) {
      completions.push(settlement.completion.row);
      messages.push(...settlement.completion.messages);
    }
  }
  await database.run({
    name: "settle",
    operation: "settle",
    // It takes milliseconds. When a connection has gone silent, the rest of the time is for trying again.
    timeoutMs: 10_000,
    text: "select settle($1)",
    values: [
      JSON.stringify({
        tenants: `{${[...tenants].join(",")}}`,
        instance: instanceId,
        usage,
        ...(leases.size > 0 ? { leases: [...leases.values()] } : {}),
        ...(completions.length > 0 ? { completions, messages } : {}),
        ...(keys.length > 0 ? { keys } : {}),
      }),
    ],
  });
}
