import { readRuleFile } from "@ectus/alerting";
import { describe, expect, test } from "vitest";
import { allDrills } from "./all-drills.ts";
import {
  findRunbookQueries,
  readRunbookQueries,
  readTemplates,
  ruleFilePaths,
  runbookOf,
} from "./project-files.ts";

test.each([
  ["HighErrorRate", "high-error-rate"],
  ["PodOOMKilled", "pod-oom-killed"],
  ["CpuHigh", "cpu-high"],
  ["AiProviderFailing", "ai-provider-failing"],
])("the files of %s are called %s", (alert, name) => {
  expect(runbookOf(alert)).toBe(`${name}.md`);
});

test("queries that promise an answer are found with their lines, in lists too, and no others", () => {
  const markdown = [
    "# Title",
    "```promql run firing",
    "up == 0",
    "```",
    "```promql run",
    "up",
    "```",
    "1. first",
    "   ```promql run firing",
    "   sum(up)",
    "     == 1",
    "   ```",
  ].join("\n");
  expect(findRunbookQueries(markdown)).toEqual([
    { line: 2, expression: "up == 0" },
    { line: 9, expression: "sum(up)\n     == 1" },
  ]);
});

test("Alertmanager's templates are found", async () => {
  expect(Object.keys(await readTemplates())).toContain("slack.tmpl");
});

describe("the drills", async () => {
  const files = await Promise.all(ruleFilePaths.map(readRuleFile));
  const severities = new Map(
    files
      .flatMap(({ groups }) => groups.flatMap(({ rules }) => rules))
      .filter(({ kind }) => kind === "alert")
      .map(({ name, labels }) => [name.value, labels.get("severity")?.value]),
  );

  test("have names of their own", () => {
    expect(new Set(allDrills.map(({ name }) => name)).size).toBe(allDrills.length);
  });

  test.each(allDrills.map((drill) => [drill.name, drill] as const))(
    "%s is about alerts that there are",
    (_, drill) => {
      expect([...severities.keys()]).toContain(drill.alert);
      if (drill.kind !== "alert") return;
      expect(severities.get(drill.alert)).toBe(drill.severity);
      for (const sibling of drill.inhibits) expect([...severities.keys()]).toContain(sibling);
    },
  );

  test.each(allDrills.filter(({ kind }) => kind === "alert").map(({ alert }) => [alert]))(
    "the runbook of %s promises the answer of a query",
    async (alert) => {
      expect(await readRunbookQueries(alert)).not.toEqual([]);
    },
  );
});
