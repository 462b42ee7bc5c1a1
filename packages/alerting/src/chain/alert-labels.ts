// What every alert says of itself, and what it may say.
import type { AlertRule } from "../rule-files.ts";

/** Labels that every alert has, with their values. Alertmanager routes by them. */
export const alertLabels: Readonly<Record<string, readonly string[]>> = {
  // page: somebody is woken; ticket: in business hours; info: to be read.
  severity: ["page", "ticket", "info"],
  team: ["platform"],
  area: ["api", "inference", "database", "process", "node", "exports", "monitoring", "objective"],
};

/** Annotations that every alert has. */
export const alertAnnotations = ["summary", "description", "runbook_url", "traces_url"] as const;

/** External labels of Prometheus that templates may use; alerts lose them before Alertmanager. */
export const externalLabels = ["runbooks_url", "traces_url", "prometheus_replica"];

/** How its runbook and its tests are called: HighErrorRate is high-error-rate, PodOOMKilled is pod-oom-killed. */
export function fileNameOf(alert: string): string {
  return alert
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1-$2")
    .toLowerCase();
}

export function labelOf(alert: AlertRule, name: string): string | undefined {
  return alert.labels.get(name)?.value;
}

/** The labels that its rule gives an alert, whatever its expression does. */
export function labelsOfRule(name: string, { labels }: AlertRule): Readonly<Record<string, string>> {
  return { alertname: name, ...Object.fromEntries([...labels].map(([label, { value }]) => [label, value])) };
}
