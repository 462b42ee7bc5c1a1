// Commits what finished requests leave behind. Requests that end at the same time share a transaction; a client sees
// the end of its answer only after its commit. The transaction is in no request's context, and in the trace of each.
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { EctusError, type Logger, newUuid } from "@ectus/core";
import { type Database, isPassingError, type Settlement, settle } from "@ectus/database";
import { currentSpan } from "@ectus/monitoring";

export interface Settlements {
  /** This instance, as the leases in the database name it. */
  readonly instanceId: string;
  /** Tells that a request has begun that will be settled or dropped: how many there are decides how long to wait for company. */
  begin(): void;
  /** Ends a request that leaves nothing behind. */
  drop(): void;
  /** Resolves when the settlement is committed. Rejects when it cannot be; the row is then in the log. */
  settle(settlement: Omit<Settlement, "touchKey" | "span">): Promise<void>;
  /** Resolves when all settlements are committed or have failed; takes no more. */
  close(): Promise<void>;
}

export interface SettlementsOptions {
  readonly database: Database;
  readonly log: Logger;
  /** How long a settlement is tried again when the database cannot be reached. */
  readonly retryForMs?: number;
  /** How many may wait to be committed; 20,000 by default. */
  readonly mostPending?: number;
}

interface Pending {
  readonly since: number;
  readonly settlement: Settlement;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const mostPerBatch = 256;
// A stored completion may take tens of megabytes, and a batch of them is one text here and in PostgreSQL.
const mostStoredPerBatch = 4;
// One after the other: two that share tenants wait for each other's locks anyway, and smaller batches cost PostgreSQL
// a fifth more CPU time a request, a third more where all are one tenant's.
const mostConcurrentBatches = 1;
// A batch starts when a quarter of the requests in progress are in it, or after this time.
const lingerMs = 2;
const defaultMostPending = 20_000;
const mostTouched = 20_000;
const touchEveryMs = 60_000;
const retryPauseMs = { first: 50, most: 1_000 };

export function createSettlements(options: SettlementsOptions): Settlements {
  const { database, log, retryForMs = 30_000, mostPending = defaultMostPending } = options;
  // A batch is started by whichever request comes last, or by the end of the batch before.
  const outside = AsyncLocalStorage.snapshot();
  const instanceId = newUuid();
  let pending: Pending[] = [];
  let inProgress = 0;
  let batches = 0;
  let closed = false;
  let lingering: NodeJS.Timeout | undefined;
  const touched = new Map<string, number>();
  const idle = new Set<() => void>();

  function shouldTouch(keyId: string): boolean {
    const now = performance.now();
    if (now - (touched.get(keyId) ?? Number.NEGATIVE_INFINITY) < touchEveryMs) return false;
    if (touched.size > mostTouched) touched.clear();
    touched.set(keyId, now);
    return true;
  }

  function schedule(): void {
    if (batches >= mostConcurrentBatches || pending.length === 0) return;
    if (pending.length >= Math.min(mostPerBatch, inProgress / 4)) {
      flush();
    } else {
      lingering ??= outside(() => setTimeout(flush, lingerMs));
    }
  }

  function flush(): void {
    clearTimeout(lingering);
    lingering = undefined;
    if (batches >= mostConcurrentBatches || pending.length === 0) return;
    const size = nextBatchSize(pending);
    const batch = pending.slice(0, size);
    pending = pending.slice(size);
    batches++;
    void outside(() => commit(batch)).finally(() => {
      batches--;
      if (pending.length > 0) schedule();
      else if (batches === 0) for (const done of idle) done();
    });
  }

  async function commit(batch: readonly Pending[]): Promise<void> {
    try {
      await settleWithRetry(batch);
      for (const { resolve } of batch) resolve();
    } catch (error) {
      if (batch.length > 1 && !isPassingError(error)) {
        // One that the database refuses must not take the others with it.
        for (const one of batch) await commit([one]);
        return;
      }
      for (const { reject } of batch) reject(error);
    }
  }

  async function settleWithRetry(batch: readonly Pending[]): Promise<void> {
    // From when the newest came, so that those who waited out an outage do not wait once more, each batch in turn.
    const giveUpAt = Math.max(...batch.map(({ since }) => since)) + retryForMs;
    const settlements = batch.map(({ settlement }) => settlement);
    let pauseMs = retryPauseMs.first;
    for (;;) {
      try {
        await settle(database, instanceId, settlements);
        return;
      } catch (error) {
        // Whether a broken connection had committed is not known; settling again is harmless.
        if (!isPassingError(error) || performance.now() + pauseMs > giveUpAt) throw error;
        await delay(pauseMs);
        pauseMs = Math.min(pauseMs * 2, retryPauseMs.most);
      }
    }
  }

  return {
    instanceId,
    begin: () => {
      inProgress++;
    },
    drop: () => {
      inProgress--;
      schedule();
    },
    async settle(settlement) {
      inProgress--;
      if (closed || pending.length >= mostPending) {
        const reason = closed ? "this instance has stopped" : "too many settlements are waiting";
        log.error({ usage: settlement.usage }, `usage could not be recorded: ${reason}`);
        throw new EctusError("database_unavailable", { retryAfterSeconds: 5 });
      }
      const touchKey = shouldTouch(settlement.usage.api_key_id);
      const span = currentSpan();
      try {
        await new Promise<void>((resolve, reject) => {
          pending.push({
            since: performance.now(),
            settlement: { ...settlement, touchKey, span },
            resolve,
            reject,
          });
          schedule();
        });
      } catch (error) {
        log.error({ err: error, usage: settlement.usage }, "usage could not be recorded");
        throw error;
      }
    },
    async close() {
      closed = true;
      flush();
      if (batches > 0) {
        await new Promise<void>((resolve) => {
          idle.add(resolve);
        });
      }
    },
  };
}

function nextBatchSize(pending: readonly Pending[]): number {
  let stored = 0;
  const end = pending.findIndex(
    ({ settlement }, index) =>
      index === mostPerBatch || (settlement.completion !== undefined && ++stored > mostStoredPerBatch),
  );
  return end === -1 ? pending.length : end;
}
