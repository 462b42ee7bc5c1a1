// The only process is killed: nobody answers.
import type { AlertDrill } from "../drill.ts";

export const serviceDown: AlertDrill = {
  kind: "alert",
  name: "service-down",
  alert: "ServiceDown",
  severity: "page",
  shows: "a service that nobody answers for is one message, not one for each symptom",
  fault: "the process is killed",
  mitigation: "the process is started again",
  programs: [],
  inhibits: ["InstanceDown"],
  customersSee: "no-answer",
  async inject({ instance }) {
    await instance.kill();
    return () => instance.start();
  },
};
