// Takes requests and tokens of a key's current minute, for one instance to use without asking again.
import type { Database } from "../database.ts";

export interface RateRequest {
  readonly tenantId: string;
  readonly keyId: string;
  /** Start of the minute. */
  readonly minute: Date;
  /** The least that helps. */
  readonly needRequests: number;
  readonly needTokens: number;
  /** What would be convenient. */
  readonly blockRequests: number;
  readonly blockTokens: number;
  /** Limits of the minute; null is none. */
  readonly limitRequests: number | null;
  readonly limitTokens: number | null;
}

/** What was granted. Less of either than needed means that nothing was taken. */
export async function leaseRate(
  database: Database,
  rate: RateRequest,
): Promise<{ requests: number; tokens: number }> {
  const [row] = await database.run<{ requests: number; tokens: number }>({
    name: "lease_rate",
    operation: "lease_rate",
    table: "rate_windows",
    text: "select granted_requests as requests, granted_tokens as tokens from lease_rate($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    values: [
      rate.tenantId,
      rate.keyId,
      rate.minute,
      rate.needRequests,
      rate.needTokens,
      rate.blockRequests,
      rate.blockTokens,
      rate.limitRequests,
      rate.limitTokens,
    ],
  });
  return row as { requests: number; tokens: number };
}

/** Gives back tokens of a minute; does nothing when another minute has begun. */
export async function returnRate(
  database: Database,
  rate: {
    readonly tenantId: string;
    readonly keyId: string;
    readonly minute: Date;
    readonly tokens: number;
  },
): Promise<void> {
  await database.run({
    name: "return_rate",
    operation: "return_rate",
    table: "rate_windows",
    text: "select return_rate($1, $2, $3, $4)",
    values: [rate.tenantId, rate.keyId, rate.minute, rate.tokens],
  });
}
