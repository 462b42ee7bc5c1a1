// Streams break after their 200: no status tells it, and customers see it all the same.
import type { AlertDrill } from "../drill.ts";

export const brokenStreams: AlertDrill = {
  kind: "alert",
  name: "broken-streams",
  alert: "HighErrorRate",
  severity: "page",
  shows: "streams that break after their 200 count as failing requests",
  fault: "every second stream of the vendor is cut after its first token",
  mitigation: "the vendor's streams come to their ends again",
  programs: [],
  inhibits: [],
  // Each second of the vendor's calls is a chat or a stream in turn, so that every second stream is cut. That is a
  // quarter of its calls: its circuit stays closed, and nothing but streams fails.
  traffic: { pattern: ["chat", "chat", "stream", "models", "stream"] },
  customersSee: "broken-streams",
  async inject({ upstream }) {
    await upstream.setFault({ kind: "broken-stream", every: 2 });
    return () => upstream.setFault(undefined);
  },
};
