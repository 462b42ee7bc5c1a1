// A client's bodies take long turns to read, and everybody else waits for them.
import type { AlertDrill } from "../drill.ts";
import { sendLargeBodies } from "../faults/large-bodies.ts";

export const eventLoopLag: AlertDrill = {
  kind: "alert",
  name: "event-loop-lag",
  alert: "EventLoopLag",
  severity: "ticket",
  shows: "an instance whose event loop is held up is told",
  fault: "a client sends bodies with a million parts, of which each takes a turn of the event loop",
  mitigation: "the client stops",
  programs: [],
  inhibits: [],
  async inject({ instance, signal, defer }) {
    const { url: baseUrl, tenant } = instance;
    const end = sendLargeBodies({ baseUrl, key: tenant.key, signal });
    defer(end);
    return end;
  },
};
