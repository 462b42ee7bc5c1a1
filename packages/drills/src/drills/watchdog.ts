// Prometheus is gone, so no alert can tell it: the dead man's switch outside has to.
import type { SilenceDrill } from "../drill.ts";

export const watchdog: SilenceDrill = {
  kind: "silence",
  name: "watchdog",
  alert: "Watchdog",
  shows: "alerting that is dead is noticed outside, by the dead man's switch",
  fault: "Prometheus is stopped",
  mitigation: "Prometheus is started again",
  programs: [],
  async inject({ prometheus }) {
    await prometheus.stop();
    return () => prometheus.start();
  },
};
