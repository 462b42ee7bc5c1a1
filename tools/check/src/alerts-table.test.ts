import { expect, test } from "vitest";
import { type AlertSources, alertsTable, type ShownRule } from "./alerts-table.ts";

const rule = (kind: "alert" | "record", name: string, ...metrics: readonly string[]): ShownRule => ({
  kind,
  name: { value: name },
  expression: { selectors: metrics.map((metric) => ({ metric })) },
  labels: new Map([["severity", { value: "page" }]]),
  annotations: new Map([
    ["runbook_url", { value: `{{ $externalLabels.runbooks_url }}/${name.toLowerCase()}.md` }],
  ]),
  for: { value: "5m" },
});
const programs: Readonly<Record<string, string>> = {
  up: "prometheus",
  x_total: "ectus",
  node_load1: "node_exporter",
};
const table = (more: Partial<AlertSources>): readonly string[] =>
  alertsTable({
    rules: [],
    programOf: (metric) => programs[metric],
    drills: [],
    ...more,
  })
    .trim()
    .split("\n")
    .slice(2);

test("an alert has its runbook, severity, wait and the programs that its series come from, each once", () => {
  expect(table({ rules: [rule("alert", "A", "node_load1", "x_total", "x_total")] })).toEqual([
    "| [A](docs/runbooks/a.md) | page | 5m | ectus, node_exporter |  |",
  ]);
});

test("what other rules record is of the programs that those look at, also over several, and over itself", () => {
  const rules = [
    rule("alert", "A", "job:b:rate5m"),
    rule("record", "job:b:rate5m", "job:c:rate5m", "up"),
    rule("record", "job:c:rate5m", "x_total", "job:c:rate5m"),
    rule("record", "job:c:rate5m", "node_load1"),
  ];
  expect(table({ rules })).toEqual([
    "| [A](docs/runbooks/a.md) | page | 5m | ectus, node_exporter, prometheus |  |",
  ]);
});

test("an alert has the drills that are about it, else those in which it is silenced", () => {
  const drills = [
    { name: "a", alert: "A", inhibits: ["A", "B"] },
    { name: "a-2", alert: "A" },
  ];
  const cells = table({ rules: ["A", "B", "C"].map((name) => rule("alert", name)), drills }).map((row) =>
    row.split(" | ").at(-1),
  );
  expect(cells).toEqual(["`a`, `a-2` |", "silenced in `a` |", " |"]);
});
