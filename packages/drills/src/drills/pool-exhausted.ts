// A lock in the database holds every connection that asks for a table. Requests that wait for a connection longer than
// five seconds are given up with 503, so it is told as what customers see, and not as a pool that is full besides.
import type { AlertDrill } from "../drill.ts";
import { holdLock } from "../faults/table-lock.ts";

export const poolExhausted: AlertDrill = {
  kind: "alert",
  name: "pool-exhausted",
  alert: "DatabaseConnectionErrors",
  severity: "page",
  shows: "requests that get no connection since a lock holds all of them are one message",
  fault: "a transaction that is left open holds a lock on the stored completions",
  mitigation: "the transaction is ended",
  programs: [],
  // The five seconds of a request's wait are not shortened. Divided by less, the full pool's five minutes still end after the
  // errors' two, as in production.
  factors: { windows: 20 },
  detectWithinMs: 60_000,
  inhibits: ["DatabasePoolSaturated"],
  // Few connections, and most clients ask for what is locked.
  instance: { environment: { DATABASE_POOL_SIZE: "4" } },
  traffic: { pattern: ["stored", "models", "stored", "stored", "chat"], perSecond: 10 },
  customersSee: "failures",
  async inject({ postgres, defer }) {
    const lock = await holdLock(postgres.ownerUrl, "completions");
    defer(lock.release);
    return lock.release;
  },
};
