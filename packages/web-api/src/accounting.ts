// The account of one inference request: rate and budget are reserved before it starts, usage is settled when it ends.
import type { AnsweredBy, ModelInfo, Operation, TokenUsage } from "@ectus/ai-engine";
import { costUsd } from "@ectus/ai-engine";
import { newUuid } from "@ectus/core";
import type { Settlement, UsageRow } from "@ectus/database";
import type { Caller } from "./caller.ts";
import type { RateLimits } from "./limits/rate-limits.ts";
import type { TokenBudgets } from "./limits/token-budgets.ts";
import type { Settlements } from "./settlements.ts";

export interface AccountingOptions {
  readonly rates: RateLimits;
  readonly budgets: TokenBudgets;
  readonly settlements: Settlements;
  readonly now?: () => Date;
}

export interface OpenAccountOptions {
  readonly caller: Caller;
  readonly requestId: string;
  readonly operation: Operation;
  readonly model: ModelInfo;
  /** The most tokens that the request can use. */
  readonly tokens: number;
  readonly streamed: boolean;
}

export interface Ending {
  readonly answeredBy: AnsweredBy;
  readonly outcome: UsageRow["outcome"];
  /** Null where the provider did not say: the budget is then charged what was reserved. */
  readonly usage: TokenUsage | null;
  readonly completion?: Settlement["completion"];
}

/** Either `settle` or `drop` ends it. */
export interface Account {
  /** UUID of the usage row; an answer that is stored has the same. */
  readonly id: string;
  readonly startedAt: Date;
  /** Resolves when usage, budget and completion are committed. */
  settle(ending: Ending): Promise<void>;
  /** Nothing was used: gives the reserved tokens back. */
  drop(): void;
}

export type Accounting = (options: OpenAccountOptions) => Promise<Account>;

/**
 * Opens accounts.
 *
 * @throws EctusError `rate_limit_exceeded` or `insufficient_quota`, from the returned function
 */
export function createAccounting(options: AccountingOptions): Accounting {
  const { rates, budgets, settlements, now = () => new Date() } = options;
  return async ({ caller, requestId, operation, model, tokens, streamed }) => {
    const startedAt = now();
    const started = performance.now();
    const returnRate = await rates.take(caller, tokens);
    const reservation = await budgets.reserve(caller, tokens, startedAt).catch((error) => {
      returnRate(tokens);
      throw error;
    });
    settlements.begin();
    const id = newUuid();
    return {
      id,
      startedAt,
      async settle({ answeredBy, outcome, usage, completion }) {
        const charged = usage === null ? tokens : usage.inputTokens + usage.outputTokens;
        const row: UsageRow = {
          tenant_id: caller.tenantId,
          id,
          created_at: startedAt.toISOString(),
          api_key_id: caller.keyId,
          request_id: requestId,
          operation,
          model: model.id,
          provider: answeredBy.provider,
          outcome,
          streamed,
          input_tokens: usage?.inputTokens ?? null,
          output_tokens: usage?.outputTokens ?? null,
          cached_tokens: usage?.cachedTokens ?? null,
          reasoning_tokens: usage?.reasoningTokens ?? null,
          charged_tokens: charged,
          cost_usd: usage === null || model.price === null ? null : costUsd(model.price, usage),
          duration_ms: Math.round(performance.now() - started),
        };
        try {
          await settlements.settle({
            usage: row,
            leasedTokens: reservation.fromLease(charged),
            ...(completion === undefined ? {} : { completion }),
          });
        } finally {
          reservation.end(charged);
          returnRate(Math.max(tokens - charged, 0));
        }
      },
      drop() {
        settlements.drop();
        reservation.end(0);
        returnRate(tokens);
      },
    };
  };
}
