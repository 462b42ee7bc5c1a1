// Requests and tokens per minute of a key, exact across instances: each takes small blocks of the minute from the
// database and serves from them.
import { EctusError } from "@ectus/core";
import { type Database, leaseRate } from "@ectus/database";
import type { Caller } from "../caller.ts";

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
}

const minuteMs = 60_000;
// A limit is taken in this many blocks, so that a few instances can share it.
const blocks = 20;
const mostWindows = 20_000;
const nothing = (): void => {};

export function createRateLimits(database: Database, now: () => number = Date.now): RateLimits {
  const windows = new Map<string, Window>();

  function windowOf(keyId: string, minute: number): Window {
    let window = windows.get(keyId);
    if (window === undefined || window.minute !== minute) {
      window = { minute, requests: 0, tokens: 0, leasing: undefined };
      windows.delete(keyId);
      windows.set(keyId, window);
      if (windows.size > mostWindows) windows.delete(windows.keys().next().value as string);
    }
    return window;
  }

  async function lease(caller: Caller, window: Window, tokens: number): Promise<void> {
    const { requestsPerMinute, tokensPerMinute } = caller;
    const granted = await leaseRate(database, {
      tenantId: caller.tenantId,
      keyId: caller.keyId,
      minute: new Date(window.minute),
      needTokens: Math.max(tokens - window.tokens, 0),
      blockRequests: Math.ceil((requestsPerMinute ?? 1_000) / blocks),
      blockTokens: Math.max(tokens, Math.ceil((tokensPerMinute ?? 0) / blocks)),
      limitRequests: requestsPerMinute,
      limitTokens: tokensPerMinute,
    });
    const enough = granted.requests >= 1 && granted.tokens >= Math.max(tokens - window.tokens, 0);
    if (!enough) {
      const retryAfterSeconds = Math.max(1, Math.ceil((window.minute + minuteMs - now()) / 1_000));
      throw granted.requests < 1
        ? new EctusError("rate_limit_exceeded", {
            limit: requestsPerMinute,
            unit: "requests",
            retryAfterSeconds,
          })
        : new EctusError("rate_limit_exceeded", {
            limit: tokensPerMinute,
            unit: "tokens",
            retryAfterSeconds,
          });
    }
    window.requests += granted.requests;
    window.tokens += granted.tokens;
  }

  return {
    async take(caller, tokens) {
      const { requestsPerMinute, tokensPerMinute } = caller;
      if (requestsPerMinute === null && tokensPerMinute === null) return nothing;
      const needed = tokensPerMinute === null ? 0 : tokens;
      if (tokensPerMinute !== null && tokens > tokensPerMinute) {
        throw new EctusError("rate_limit_exceeded", {
          limit: tokensPerMinute,
          unit: "tokens",
          retryAfterSeconds: 60,
        });
      }
      const minute = Math.floor(now() / minuteMs) * minuteMs;
      const window = windowOf(caller.keyId, minute);
      while (window.requests < 1 || window.tokens < needed) {
        if (window.leasing !== undefined) {
          await window.leasing.catch(nothing);
          continue;
        }
        window.leasing = lease(caller, window, needed);
        try {
          await window.leasing;
        } finally {
          window.leasing = undefined;
        }
      }
      window.requests--;
      window.tokens -= needed;
      return (unused) => {
        window.tokens += Math.min(unused, needed);
      };
    },
  };
}
