// The vendor begins its answers late.
import type { AlertDrill } from "../drill.ts";

export const highLatency: AlertDrill = {
  kind: "alert",
  name: "high-latency",
  alert: "HighLatency",
  labels: { signal: "first_token" },
  severity: "page",
  shows: "a vendor that begins its answers late is told to people as slow requests",
  fault: "the vendor takes two seconds to begin an answer",
  mitigation: "the vendor is as fast as before",
  programs: [],
  inhibits: [],
  customersSee: "slow-answers",
  async inject({ upstream }) {
    await upstream.setFault({ kind: "slow", beforeMs: 2_000 });
    return () => upstream.setFault(undefined);
  },
};
