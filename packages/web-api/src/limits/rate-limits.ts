// Requests and tokens per minute of a key, exact across instances: each takes small blocks of the minute from the
// database and serves from them.
import { EctusError } from "@ectus/core";
import { type Database, leaseRate, returnRate } from "@ectus/database";
import type { Caller } from "../caller.ts";
import { createWait } from "../shared-work.ts";

export interface RateLimits {
  /**
   * Takes one request and `tokens` of the key's current minute.
   *
   * @returns gives back tokens that were not used, if the minute is still the same
   * @throws EctusError `rate_limit_exceeded`
   */
  take(caller: Caller, tokens: number): Promise<(unusedTokens: number) => void>;
}

interface Window {
  readonly minute: number;
  requests: number;
  tokens: number;
  /** The lease in progress; others of the same key wait for it. */
  leasing: Promise<void> | undefined;
  /** The return in progress: who needs more waits for it, because it may be enough then. */
  returning: Promise<void> | undefined;
  /** The most tokens that a request needed. */
  largest: number;
  /** What the database last refused, so that it is not asked again at once. */
  refused: { readonly limit: Limit; readonly need: number; readonly untilMs: number } | undefined;
}

interface Limit {
  readonly unit: "requests" | "tokens";
  readonly perMinute: number;
}

const minuteMs = 60_000;
// A limit is taken in this many blocks, so that a few instances can share it.
const blocks = 20;
const mostWindows = 20_000;
// Requests do not come back within a minute; tokens do, when answers turn out shorter than they might have been.
const tokenRefusalMs = 1_000;
const nothing = (): void => {};
const waitForLease = createWait("lease_rate");
const waitForReturn = createWait("return_rate");

/** @param now milliseconds since 1970; decides which minute it is */
export function createRateLimits(database: Database, now: () => number = Date.now): RateLimits {
  // A Map keeps insertion order, and a key's window is put at its end each minute: the first is the oldest.
  const windows = new Map<string, Window>();

  function windowOf(keyId: string): Window {
    const minute = Math.floor(now() / minuteMs) * minuteMs;
    let window = windows.get(keyId);
    if (window === undefined || window.minute !== minute) {
      window = {
        minute,
        requests: 0,
        tokens: 0,
        leasing: undefined,
        returning: undefined,
        largest: 0,
        refused: undefined,
      };
      windows.delete(keyId);
      windows.set(keyId, window);
      if (windows.size > mostWindows) windows.delete(windows.keys().next().value as string);
    }
    return window;
  }

  const refusal = (window: Window, { unit, perMinute }: Limit): EctusError =>
    new EctusError("rate_limit_exceeded", {
      limit: perMinute,
      unit,
      retryAfterSeconds: Math.max(1, Math.ceil((window.minute + minuteMs - now()) / 1_000)),
    });

  async function lease(caller: Caller, window: Window, needed: Needed): Promise<void> {
    const { requestsPerMinute, tokensPerMinute } = caller;
    const needRequests = Math.max(needed.requests - window.requests, 0);
    const needTokens = Math.max(needed.tokens - window.tokens, 0);
    const granted = await leaseRate(database, {
      tenantId: caller.tenantId,
      keyId: caller.keyId,
      minute: new Date(window.minute),
      needRequests,
      needTokens,
      // Of what there is enough here, other instances may have the rest.
      blockRequests: needRequests === 0 ? 0 : blockOf(requestsPerMinute, needRequests),
      blockTokens: needTokens === 0 ? 0 : blockOf(tokensPerMinute, needTokens),
      limitRequests: requestsPerMinute,
      limitTokens: tokensPerMinute,
    });
    if (granted.requests < needRequests) {
      const limit = { unit: "requests", perMinute: requestsPerMinute as number } as const;
      window.refused = { limit, need: needRequests, untilMs: window.minute + minuteMs };
      throw refusal(window, limit);
    }
    if (granted.tokens < needTokens) {
      const limit = { unit: "tokens", perMinute: tokensPerMinute as number } as const;
      window.refused = { limit, need: needTokens, untilMs: now() + tokenRefusalMs };
      throw refusal(window, limit);
    }
    window.requests += granted.requests;
    window.tokens += granted.tokens;
  }

  function knownRefusal(caller: Caller, window: Window, needed: Needed): EctusError | undefined {
    const { refused } = window;
    if (refused === undefined || now() >= refused.untilMs) return undefined;
    const { unit, perMinute } = refused.limit;
    // A limit that was changed since may allow more.
    if (perMinute !== (unit === "requests" ? caller.requestsPerMinute : caller.tokensPerMinute))
      return undefined;
    return needed[unit] - window[unit] >= refused.need ? refusal(window, refused.limit) : undefined;
  }

  function giveBack(caller: Caller, window: Window, unused: number): void {
    window.tokens += unused;
    const perMinute = caller.tokensPerMinute as number;
    // Enough for the next request, but not most of the minute.
    const keep = Math.max(blockOf(perMinute, 0), Math.min(window.largest, Math.ceil(perMinute / 4)));
    const isCurrent = windows.get(caller.keyId) === window;
    if (window.tokens <= 2 * keep || window.returning !== undefined || !isCurrent) return;
    const surplus = window.tokens - keep;
    window.tokens = keep;
    window.returning = returnRate(database, {
      tenantId: caller.tenantId,
      keyId: caller.keyId,
      minute: new Date(window.minute),
      tokens: surplus,
    })
      // What is not known to have come back is gone with the minute.
      .catch(nothing)
      .finally(() => {
        window.returning = undefined;
      });
  }

  return {
    async take(caller, tokens) {
      const { requestsPerMinute, tokensPerMinute } = caller;
      if (requestsPerMinute === null && tokensPerMinute === null) return nothing;
      const needed: Needed = {
        requests: requestsPerMinute === null ? 0 : 1,
        tokens: tokensPerMinute === null ? 0 : tokens,
      };
      const window = windowOf(caller.keyId);
      window.largest = Math.max(window.largest, needed.tokens);
      if (tokensPerMinute !== null && tokens > tokensPerMinute)
        throw refusal(window, { unit: "tokens", perMinute: tokensPerMinute });
      while (window.requests < needed.requests || window.tokens < needed.tokens) {
        if (window.leasing !== undefined) {
          // Another's refusal need not be ours, but a database that cannot be asked is everybody's.
          await waitForLease(window.leasing).catch((error) => {
            if (!isRefusal(error)) throw error;
          });
          continue;
        }
        if (window.returning !== undefined) {
          await waitForReturn(window.returning);
          continue;
        }
        const known = knownRefusal(caller, window, needed);
        if (known !== undefined) throw known;
        window.leasing = lease(caller, window, needed);
        try {
          await window.leasing;
        } finally {
          window.leasing = undefined;
        }
      }
      window.requests -= needed.requests;
      window.tokens -= needed.tokens;
      return (unused) => {
        const back = Math.min(unused, needed.tokens);
        if (back > 0) giveBack(caller, window, back);
      };
    },
  };
}

interface Needed {
  readonly requests: number;
  readonly tokens: number;
}

function blockOf(perMinute: number | null, need: number): number {
  return Math.max(need, Math.ceil((perMinute ?? 0) / blocks));
}

function isRefusal(error: unknown): boolean {
  return error instanceof EctusError && error.code === "rate_limit_exceeded";
}
