// The token budget of a tenant and month. A request reserves the most it may use before it starts and settles what it
// used; an instance leases blocks of tokens from the database, so that few requests ask it.
//
// What an instance holds of a tenant's month is `available + reserved` here and one row of token_leases there. The row
// is never less for long: a settlement lowers it in the transaction that adds to what is spent, and only then is the
// reservation ended here. Where a step got lost between the two, the row holds more, and the next lease or return
// says what is really held.
import { EctusError, type Logger } from "@ectus/core";
import { type Database, leaseTokens, renewLeases, returnTokens } from "@ectus/database";
import type { Caller } from "../caller.ts";
import { createWait } from "../shared-work.ts";

export interface Reservation {
  /** How many of `charged` tokens the lease pays for: to be settled with them. */
  fromLease(charged: number): number;
  /** Ends it: `charged` tokens of it were settled in the database. */
  end(charged: number): void;
}

export interface TokenBudgets {
  /**
   * Reserves tokens of the month that `at` is in.
   *
   * @throws EctusError `insufficient_quota`
   */
  reserve(caller: Caller, tokens: number, at: Date): Promise<Reservation>;
  /** Gives back what is leased for a tenant and not reserved, after its budget changed. */
  release(tenantId: string): Promise<void>;
  /** Gives back all leases. Nothing may be reserved any more. */
  close(): Promise<void>;
}

export interface TokenBudgetsOptions {
  readonly database: Database;
  readonly instanceId: string;
  readonly log: Logger;
  /** How long a lease lives that is not renewed: after that others get its tokens. 600 by default. */
  readonly ttlSeconds?: number;
  /** How long a block is held before what is left of it goes back; 10,000 by default. */
  readonly idleMs?: number;
}

interface Lease {
  readonly tenantId: string;
  readonly month: string;
  available: number;
  reserved: number;
  /** Counts how often what was held got lost; reservations of before are not of this lease any more. */
  epoch: number;
  block: number;
  usedAt: number;
  leasedAt: number;
  renewedAt: number;
  /** Whether the database may have a row. */
  stored: boolean;
  /** The exchange with the database in progress; there is one at a time. */
  exchange: Promise<void> | undefined;
  /** What the database last refused, so that it is not asked again at once. */
  refused: { readonly need: number; readonly remaining: number; readonly until: number } | undefined;
}

const block = { least: 4_096, most: 1_048_576 };
// A block that lasted less than this is followed by one twice as large.
const shortLeaseMs = 1_000;
const refusalMs = 1_000;
const waitForExchange = createWait("token_lease");
const unlimited: Reservation = { fromLease: () => 0, end: () => {} };

/** First day of the month in UTC, as `2026-11-01`. */
export function monthOf(at: Date): string {
  return `${at.getUTCFullYear()}-${String(at.getUTCMonth() + 1).padStart(2, "0")}-01`;
}

export function createTokenBudgets(options: TokenBudgetsOptions): TokenBudgets {
  const { database, instanceId, log, ttlSeconds = 600, idleMs = 10_000 } = options;
  const leases = new Map<string, Lease>();
  let closed = false;
  let maintaining = false;
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
        epoch: 0,
        block: block.least,
        usedAt: now,
        leasedAt: 0,
        renewedAt: now,
        stored: false,
        exchange: undefined,
        refused: undefined,
      };
      leases.set(id, lease);
    }
    return lease;
  }

  // A little before the database would give it to others.
  const isExpired = (lease: Lease, now: number): boolean => now - lease.renewedAt > ttlSeconds * 900;

  function forget(lease: Lease): void {
    lease.available = 0;
    lease.reserved = 0;
    lease.epoch++;
  }

  function exchange(lease: Lease, work: () => Promise<void>): Promise<void> {
    const running = work().finally(() => {
      lease.exchange = undefined;
    });
    lease.exchange = running;
    return running;
  }

  const identify = ({ tenantId, month }: Lease) => ({ tenantId, month, instanceId });

  async function extend(lease: Lease, tokens: number): Promise<void> {
    const now = performance.now();
    if (isExpired(lease, now)) forget(lease);
    const need = tokens - lease.available;
    if (lease.leasedAt > 0) {
      lease.block =
        now - lease.leasedAt < shortLeaseMs
          ? Math.min(lease.block * 2, block.most)
          : Math.max(lease.block / 2, block.least);
    }
    const held = lease.available + lease.reserved;
    lease.stored = true;
    const { granted, remaining, kept } = await leaseTokens(database, {
      ...identify(lease),
      held,
      need,
      block: Math.max(need, lease.block),
      ttlSeconds,
    });
    if (!kept && held > 0) {
      // Reclaimed, though by our clock there was time: this machine may have slept.
      forget(lease);
      log.warn({ tenantId: lease.tenantId, tokens: held }, "a token lease was lost");
    }
    if (granted === 0) {
      const left = Math.max(remaining, 0) + lease.available;
      lease.refused = { need, remaining: left, until: now + refusalMs };
      throw new EctusError("insufficient_quota", { needed: tokens, remaining: left });
    }
    lease.available += granted;
    lease.leasedAt = now;
    lease.renewedAt = now;
  }

  async function giveBack(lease: Lease): Promise<void> {
    if (!lease.stored) return;
    lease.available = 0;
    const keep = lease.reserved;
    await returnTokens(database, { ...identify(lease), keep });
    if (keep === 0) lease.stored = false;
  }

  async function maintain(): Promise<void> {
    if (maintaining) return;
    maintaining = true;
    try {
      const now = performance.now();
      for (const lease of leases.values()) if (lease.exchange === undefined) await tidy(lease, now);
      await renew(now);
    } finally {
      maintaining = false;
    }
  }

  async function tidy(lease: Lease, now: number): Promise<void> {
    if (isExpired(lease, now)) forget(lease);
    const idle = lease.reserved === 0 && now - lease.usedAt > idleMs;
    try {
      // A block that lasts this long is larger than what is used: others may need it.
      if (idle || (lease.available > 0 && now - lease.leasedAt > idleMs))
        await exchange(lease, () => giveBack(lease));
    } catch (error) {
      // Tried again at the next round; if this instance ends, it is reclaimed when the lease expires.
      log.warn({ err: error }, "a token lease could not be given back");
      return;
    }
    const unused = lease.reserved === 0 && !lease.stored && lease.exchange === undefined;
    if (idle && unused) leases.delete(lease.tenantId + lease.month);
  }

  async function renew(now: number): Promise<void> {
    const old = [...leases.values()].filter(
      (lease) => lease.stored && lease.exchange === undefined && now - lease.renewedAt > ttlSeconds * 333,
    );
    if (old.length === 0) return;
    const tenantIds = [...new Set(old.map((lease) => lease.tenantId))];
    const sentAt = performance.now();
    try {
      const renewed = await renewLeases(database, { tenantIds, instanceId, ttlSeconds });
      const ids = new Set(renewed.map(({ tenantId, month }) => tenantId + month));
      // The others are gone, or were given back in the meantime: they expire here by themselves.
      for (const lease of old) if (ids.has(lease.tenantId + lease.month)) lease.renewedAt = sentAt;
    } catch (error) {
      log.warn({ err: error }, "token leases could not be renewed");
    }
  }

  function refuseKnown({ available, refused }: Lease, tokens: number): void {
    if (refused === undefined || performance.now() > refused.until) return;
    if (tokens - available >= refused.need)
      throw new EctusError("insufficient_quota", { needed: tokens, remaining: refused.remaining });
  }

  return {
    async reserve(caller, tokens, at) {
      if (caller.monthlyTokenBudget === null) return unlimited;
      if (closed) throw new EctusError("shutting_down");
      const lease = leaseOf(caller.tenantId, monthOf(at));
      lease.usedAt = performance.now();
      // Expired tokens may have been given to others.
      if (isExpired(lease, lease.usedAt)) forget(lease);
      while (lease.available < tokens) {
        if (lease.exchange !== undefined) {
          // Another's refusal need not be ours, but a database that cannot be asked is everybody's.
          await waitForExchange(lease.exchange).catch((error) => {
            if (!isRefusal(error)) throw error;
          });
          continue;
        }
        refuseKnown(lease, tokens);
        await exchange(lease, () => extend(lease, tokens));
      }
      lease.available -= tokens;
      lease.reserved += tokens;
      const { epoch } = lease;
      return {
        // What a provider used beyond the reservation is spent, but nobody had leased it.
        fromLease: (charged) => (lease.epoch === epoch ? Math.min(charged, tokens) : 0),
        end(charged) {
          lease.usedAt = performance.now();
          if (lease.epoch !== epoch) return;
          lease.reserved -= tokens;
          lease.available += Math.max(tokens - charged, 0);
        },
      };
    },
    async release(tenantId) {
      for (const lease of leases.values()) {
        if (lease.tenantId !== tenantId) continue;
        while (lease.exchange !== undefined) await lease.exchange.catch(() => {});
        lease.refused = undefined;
        await exchange(lease, () => giveBack(lease));
      }
    },
    async close() {
      closed = true;
      clearInterval(timer);
      await Promise.all(
        [...leases.values()].map(async (lease) => {
          while (lease.exchange !== undefined) await lease.exchange.catch(() => {});
          forget(lease);
          try {
            await exchange(lease, () => giveBack(lease));
          } catch (error) {
            log.warn(
              { err: error },
              "a token lease could not be given back; it is reclaimed when it expires",
            );
          }
        }),
      );
      leases.clear();
    },
  };
}

function isRefusal(error: unknown): boolean {
  return error instanceof EctusError && error.code === "insufficient_quota";
}
