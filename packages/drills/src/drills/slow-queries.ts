// A job that takes a table's lock again and again makes the statements of others slow.
import { setTimeout as delay } from "node:timers/promises";
import type { AlertDrill } from "../drill.ts";
import { holdLock } from "../faults/table-lock.ts";

const heldMs = 600;
const freeMs = 300;

export const slowQueries: AlertDrill = {
  kind: "alert",
  name: "slow-queries",
  alert: "SlowQueries",
  labels: { table: "completions" },
  severity: "ticket",
  shows: "statements that wait for a lock are told by operation and table",
  fault: "a job locks the stored completions for 0.6 s, again and again",
  mitigation: "the job is ended",
  programs: [],
  inhibits: [],
  instance: { environment: { SLOW_QUERY_MS: "200" } },
  traffic: { pattern: ["stored", "models", "chat", "stored", "stream"] },
  async inject({ postgres, signal, defer }) {
    const ending = new AbortController();
    const untilEnded = AbortSignal.any([signal, ending.signal]);
    const pause = (ms: number): Promise<void> => delay(ms, undefined, { signal: untilEnded }).catch(() => {});
    const job = (async () => {
      while (!untilEnded.aborted) {
        const lock = await holdLock(postgres.ownerUrl, "completions");
        await pause(heldMs);
        await lock.release();
        await pause(freeMs);
      }
    })();
    job.catch(() => {});
    const end = async (): Promise<void> => {
      ending.abort();
      await job;
    };
    defer(end);
    return end;
  },
};
