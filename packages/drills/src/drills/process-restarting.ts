// The process dies again and again, and whatever supervises it starts it again.
import { setTimeout as delay } from "node:timers/promises";
import type { AlertDrill } from "../drill.ts";

// Long enough for a scrape to see each start.
const livesMs = 1_200;

export const processRestarting: AlertDrill = {
  kind: "alert",
  name: "process-restarting",
  alert: "ProcessRestarting",
  severity: "page",
  shows: "a process that does not stay up is told, although it answers in between",
  fault: "the process is killed again and again, and started each time",
  mitigation: "the process is left alone",
  programs: [],
  // Starts take as long as ever: its window has to hold as many of them as in production.
  factors: { windows: 30 },
  detectWithinMs: 60_000,
  inhibits: [],
  customersSee: "no-answer",
  async inject({ instance, signal, defer }) {
    const leave = new AbortController();
    const untilLeft = AbortSignal.any([signal, leave.signal]);
    const killing = (async () => {
      while (!untilLeft.aborted) {
        await instance.kill();
        await instance.start();
        await delay(livesMs, undefined, { signal: untilLeft }).catch(() => {});
      }
    })();
    const end = async (): Promise<void> => {
      leave.abort();
      await killing;
    };
    killing.catch(() => {});
    defer(end);
    return end;
  },
};
