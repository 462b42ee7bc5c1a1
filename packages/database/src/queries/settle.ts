// Writes finished requests in one transaction: usage, budget, stored completion, last use of the key. The function
// behind is in migrations/0002_settlement.sql; sending a settlement again changes nothing.
import type { Span } from "@ectus/monitoring";
import { arrayElement, type CompositeField } from "../composite-literal.ts";
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
  /** The request's, in whose trace it is recorded. */
  readonly span?: Span | undefined;
}

/** Settles requests of any tenants; resolves when it is committed. */
export async function settle(
  database: Database,
  instanceId: string,
  settlements: readonly Settlement[],
): Promise<void> {
  const tenants = new Set<string>();
  const leased = new Map<string, MonthTokens>();
  const unleased = new Map<string, MonthTokens>();
  let requests = "";
  for (const { usage, leasedTokens = 0 } of settlements) {
    tenants.add(usage.tenant_id);
    requests += `${requests === "" ? "" : ","}${arrayElement(requestFields(usage))}`;
    addTokens(leased, usage, leasedTokens);
    addTokens(unleased, usage, usage.charged_tokens - leasedTokens);
  }
  await database.run({
    name: "settle",
    operation: "settle",
    table: "usage",
    // It takes milliseconds. When a connection has gone silent, the rest of the time is for trying again.
    timeoutMs: 10_000,
    sharedBy: settlements.map(({ span }) => span),
    text: "select settle($1, $2, $3, $4, $5, $6)",
    values: [
      `{${[...tenants].join(",")}}`,
      instanceId,
      `{${requests}}`,
      toArray(leased),
      toArray(unleased),
      moreOf(settlements),
    ],
  });
}

interface MonthTokens {
  readonly tenantId: string;
  readonly month: string;
  tokens: number;
}

function addTokens(
  sums: Map<string, MonthTokens>,
  { tenant_id, created_at }: UsageRow,
  tokens: number,
): void {
  if (tokens === 0) return;
  // In UTC, as everything counts months.
  const month = `${created_at.slice(0, 7)}-01`;
  const sum = sums.get(tenant_id + month);
  if (sum === undefined) sums.set(tenant_id + month, { tenantId: tenant_id, month, tokens });
  else sum.tokens += tokens;
}

function toArray(sums: ReadonlyMap<string, MonthTokens>): string {
  const elements = [...sums.values()].map(({ tenantId, month, tokens }) =>
    arrayElement([tenantId, month, tokens]),
  );
  return `{${elements.join(",")}}`;
}

// Stored completions and last uses of keys are rare; JSON serves them.
function moreOf(settlements: readonly Settlement[]): string | null {
  const stored = settlements.flatMap(({ completion }) => completion ?? []);
  const touched = settlements.filter(({ touchKey }) => touchKey);
  if (stored.length === 0 && touched.length === 0) return null;
  return JSON.stringify({
    completions: stored.map(({ row }) => row),
    messages: stored.flatMap(({ messages }) => messages),
    keys: touched.map(({ usage }) => ({ tenant_id: usage.tenant_id, id: usage.api_key_id })),
  });
}

// In the order of the type settled_request.
function requestFields(usage: UsageRow): readonly CompositeField[] {
  return [
    usage.tenant_id,
    usage.id,
    usage.created_at,
    usage.api_key_id,
    usage.request_id,
    usage.operation,
    usage.model,
    usage.provider,
    usage.outcome,
    usage.streamed,
    usage.input_tokens,
    usage.output_tokens,
    usage.cached_tokens,
    usage.reasoning_tokens,
    usage.charged_tokens,
    usage.cost_usd,
    usage.duration_ms,
  ];
}
