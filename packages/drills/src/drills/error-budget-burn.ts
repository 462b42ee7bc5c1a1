// A few in a hundred requests fail: too few for the alert of error rates, too many for the objective.
import type { AlertDrill } from "../drill.ts";

export const errorBudgetBurn: AlertDrill = {
  kind: "alert",
  name: "error-budget-burn",
  alert: "ErrorBudgetBurnFast",
  severity: "page",
  shows: "failures below five percent that would use up the month's error budget within days are told",
  fault: "the vendor fails each 25th call",
  mitigation: "the vendor works again",
  programs: [],
  inhibits: [],
  // So many that the shortest window always holds a failure.
  traffic: { perSecond: 40 },
  customersSee: "failures",
  async inject({ upstream }) {
    await upstream.setFault({ kind: "error", status: 500, every: 25 });
    return () => upstream.setFault(undefined);
  },
};
