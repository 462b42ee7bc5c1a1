// The token budget of a tenant and month. A request reserves the most it may use before it starts and settles what it
// used; an instance leases blocks of tokens from the database, so that few requests ask it.
import { EctusError, type Logger } from "@ectus/core";
import { type Database, leaseTokens, renewLeases, returnTokens } from "@ectus/database";
import type { Caller } from "../caller.ts";

export interface TokenBudgets {
  /**
   * Reserves tokens of the month that `at` is in.
   *
   * @returns ends the reservation: `charged` tokens of it were settled in the database
   * @throws EctusError `insufficient_quota`
   */
  reserve(caller: Caller, tokens: number, at: Date): Promise<(charged: number) => void>;
  /** Gives back what is leased for a tenant and not reserved, after its budget changed. */
  release(tenantId: string): Promise<void>;
  /** Gives back all leases. */
  close(): Promise<void>;
}

export interface TokenBudgetsOptions {
  readonly database: Database;
  readonly instanceId: string;
  readonly log: Logger;
  readonly ttlSeconds?: number;
  readonly idleMs?: number;
}

interface Lease {
  readonly tenantId: string;
  readonly month: string;
  available: number;
  reserved: number;
  block: number;
  usedAt: number;
  leasedAt: number;
  renewedAt: number;
  leasing: Promise<void> | undefined;
}

const block = { least: 4_096, most: 1_048_576 };
// A block that lasted less than this is followed by one twice as large.
const shortLeaseMs = 1_000;

/** First day of the month in UTC, as `2026-11-01`. */
export function monthOf(at: Date): string {
  return `${at.toISOString().slice(0, 7)}-01`;
}

export function createTokenBudgets(options: TokenBudgetsOptions): TokenBudgets {
  const { database, instanceId, log, ttlSeconds = 600, idleMs = 10_000 } = options;
  const leases = new Map<string, Lease>();
  const timer = setInterval(() => void maintain(), Math.min(idleMs / 2, (ttlSeconds * 1_000) / 6));
  timer.unref();

  function leaseOf(tenantId: string, month: string): Lease {
    const id = tenantId + month;
    let lease = leases.get(id);
    if (lease === undefined) {
      const now = performance.now();
      lease = {
        tenantId,
        month,
        available: 0,
        reserved: 0,
        block: block.least,
        usedAt: now,
        leasedAt: 0,
        renewedAt: now,
        leasing: undefined,
      };
      leases.set(id, lease);
    }
    return lease;
  }

  const isExpired = (lease: Lease, now: number): boolean => now - lease.renewedAt > ttlSeconds * 900;

  async function extend(lease: Lease, tokens: number): Promise<void> {
    const need = tokens - lease.available;
    const now = performance.now();
    if (lease.leasedAt > 0) {
      lease.block =
        now - lease.leasedAt < shortLeaseMs
          ? Math.min(lease.block * 2, block.most)
          : Math.max(lease.block / 2, block.least);
    }
    const wanted = Math.max(need, lease.block);
    const { granted, remaining } = await leaseTokens(database, {
      tenantId: lease.tenantId,
      month: lease.month,
      instanceId,
      need,
      block: wanted,
      ttlSeconds,
    });
    if (granted === 0) {
      throw new EctusError("insufficient_quota", {
        needed: tokens,
        remaining: Math.max(remaining, 0) + lease.available,
      });
    }
    lease.available += granted;
    lease.leasedAt = now;
    lease.renewedAt = now;
  }

  async function giveBack(lease: Lease): Promise<void> {
    const unused = lease.available;
    lease.available = 0;
    if (unused > 0) {
      await returnTokens(database, { tenantId: lease.tenantId, month: lease.month, instanceId, unused });
    }
  }

  async function maintain(): Promise<void> {
    const now = performance.now();
    try {
      const toRenew: Lease[] = [];
      for (const [id, lease] of leases) {
        if (lease.leasing !== undefined) continue;
        if (lease.reserved === 0 && now - lease.usedAt > idleMs) {
          leases.delete(id);
          await giveBack(lease);
        } else if (now - lease.renewedAt > ttlSeconds * 333) {
          toRenew.push(lease);
        }
      }
      if (toRenew.length > 0) {
        const tenantIds = [...new Set(toRenew.map((lease) => lease.tenantId))];
        await renewLeases(database, { tenantIds, instanceId, ttlSeconds });
        for (const lease of toRenew) lease.renewedAt = now;
      }
    } catch (error) {
      // What could not be given back is reclaimed when the lease expires.
      log.warn({ err: error }, "token leases could not be kept up");
    }
  }

  return {
    async reserve(caller, tokens, at) {
      if (caller.monthlyTokenBudget === null) return () => {};
      const lease = leaseOf(caller.tenantId, monthOf(at));
      lease.usedAt = performance.now();
      // Expired tokens may have been given to others.
      if (isExpired(lease, lease.usedAt)) lease.available = 0;
      while (lease.available < tokens) {
        if (lease.leasing !== undefined) {
          await lease.leasing.catch(() => {});
          continue;
        }
        lease.leasing = extend(lease, tokens);
        try {
          await lease.leasing;
        } finally {
          lease.leasing = undefined;
        }
      }
      lease.available -= tokens;
      lease.reserved += tokens;
      return (charged) => {
        lease.reserved -= tokens;
        lease.available += Math.max(tokens - charged, 0);
        lease.usedAt = performance.now();
      };
    },
    async release(tenantId) {
      for (const lease of leases.values())
        if (lease.tenantId === tenantId && lease.leasing === undefined) await giveBack(lease);
    },
    async close() {
      clearInterval(timer);
      for (const lease of leases.values()) await giveBack(lease);
      leases.clear();
    },
  };
}
