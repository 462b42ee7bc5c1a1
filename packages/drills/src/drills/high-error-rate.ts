// The only vendor of a model fails: customers get errors, and somebody is woken.
import type { AlertDrill } from "../drill.ts";

export const highErrorRate: AlertDrill = {
  kind: "alert",
  name: "high-error-rate",
  alert: "HighErrorRate",
  severity: "page",
  shows: "a vendor that answers 500 is told to people as failing requests",
  fault: "the vendor answers every call with 500",
  mitigation: "the vendor works again",
  programs: [],
  inhibits: ["ErrorBudgetBurnFast"],
  customersSee: "failures",
  async inject({ upstream }) {
    await upstream.setFault({ kind: "error", status: 500, every: 1 });
    return () => upstream.setFault(undefined);
  },
};
