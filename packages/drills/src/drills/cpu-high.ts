// So many requests that the instance has no time left.
import type { AlertDrill } from "../drill.ts";
import { startFlood } from "../faults/flood.ts";
import { goFirst, oneProcessor } from "../faults/own-processor.ts";

export const cpuHigh: AlertDrill = {
  kind: "alert",
  name: "cpu-high",
  alert: "CpuHigh",
  severity: "ticket",
  shows: "an instance that uses all of its processor is told, and wakes nobody",
  fault: "clients ask for the list of models as fast as it is answered",
  mitigation: "the clients stop",
  programs: [],
  inhibits: [],
  instance: { cpus: oneProcessor() },
  // What everybody else asks for is answered late, not never.
  traffic: { perSecond: 5 },
  // On a busy machine it gets its processor late.
  detectWithinMs: 120_000,
  wakesNobody: true,
  async inject({ instance, signal }) {
    goFirst(instance.pid);
    const { url: baseUrl, tenant } = instance;
    const end = startFlood({ baseUrl, key: tenant.key, signal });
    return async () => end();
  },
};
