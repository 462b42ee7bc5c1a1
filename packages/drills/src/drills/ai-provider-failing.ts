// One of two vendors fails: customers notice nothing, and nobody is woken.
import type { AlertDrill } from "../drill.ts";
import { fallbackModel } from "../rig/instance.ts";

export const aiProviderFailing: AlertDrill = {
  kind: "alert",
  name: "ai-provider-failing",
  alert: "AiProviderFailing",
  labels: { provider: "vendor" },
  severity: "ticket",
  shows: "a vendor that another one stands in for is a ticket, and wakes nobody",
  fault: "the first of two vendors refuses connections",
  mitigation: "the first vendor takes connections again",
  programs: [],
  inhibits: [],
  traffic: { model: fallbackModel },
  customersSee: "nothing",
  wakesNobody: true,
  async inject({ upstream }) {
    await upstream.setFault({ kind: "refused" });
    return () => upstream.setFault(undefined);
  },
};
