// What promtool finds of the rules is in tests/alerting/rule-tests.test.ts; here, that they are what the workbook has.
import { expect, test } from "vitest";
import { parse } from "yaml";
import { renderObjectiveRules } from "./objective.ts";

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const { groups } = parse(renderObjectiveRules()) as { groups: { name: string; rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

test("the windows and factors are those of Google's SRE workbook, table 5-8", () => {
  const burns = rules.flatMap(({ alert, expr, labels }) =>
    [
      ...expr.matchAll(
        /ratio_rate(\w+) > ([\d.]+) \* 0\.001\s+and on \(job\) job:http_requests:failed_ratio_rate(\w+) > ([\d.]+) \* 0\.001/g,
      ),
    ].map(([, long, longFactor, short, shortFactor]) => {
      expect(shortFactor).toBe(longFactor);
      return alert === undefined ? [] : [labels?.severity, long, short, longFactor];
    }),
  );
  expect(burns).toEqual([
    ["page", "1h", "5m", "14.4"],
    ["page", "6h", "30m", "6"],
    ["ticket", "1d", "2h", "3"],
    ["ticket", "3d", "6h", "1"],
  ]);
});

test("every window that an alert looks at is recorded, over that window", () => {
  const recorded = new Map(rules.map(({ record, expr }) => [record, expr]));
  for (const { alert, expr } of rules) {
    if (alert === undefined) continue;
    for (const [name] of expr.matchAll(/job:\w+:\w+/g)) {
      const window = /rate(\w+)$/.exec(name)?.[1];
      const windows = [...(recorded.get(name)?.matchAll(/\[(\w+)\]/g) ?? [])].map(([, one]) => one);
      expect([...new Set(windows)], name).toEqual([window]);
    }
  }
});

test("its groups are known as those of the objective, which drills shorten by a factor of their own", () => {
  for (const { name } of groups) expect(name).toMatch(/^objective-/);
});
