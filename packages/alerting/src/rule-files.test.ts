import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseRuleFile, readRuleFile } from "./rule-files.ts";
import { formatFault } from "./yaml-positions.ts";

const good = `groups:
  - name: g
    interval: 15s
    labels: { team: platform }
    rules:
      - record: job:a:rate5m
        expr: sum by (job) (rate(a_total[5m]))
      - alert: TooMany
        expr: |-
          job:a:rate5m > 1
          and up == 1
        for: 5m
        keep_firing_for: 1m
        labels: { severity: page }
        annotations:
          summary: '{{ $value }} a second'
`;

function faultsOf(text: string): readonly string[] {
  return parseRuleFile("rules.yaml", text).faults.map(formatFault);
}

test("a rule file is read with all that it says, and where", () => {
  const { file, faults } = parseRuleFile("rules.yaml", good);
  expect(faults).toEqual([]);
  const [group] = file.groups;
  const [record, alert] = group?.rules ?? [];
  expect(group?.name.value).toBe("g");
  expect(group?.interval?.value).toBe("15s");
  expect(record).toMatchObject({
    kind: "record",
    name: { value: "job:a:rate5m", at: { line: 6, column: 17 } },
  });
  expect(alert).toMatchObject({
    kind: "alert",
    name: { value: "TooMany" },
    expression: { text: "job:a:rate5m > 1\nand up == 1" },
    for: { value: "5m" },
    keepFiringFor: { value: "1m" },
  });
  expect([...(alert?.labels ?? [])].map(([name, { value }]) => [name, value])).toEqual([
    ["team", "platform"],
    ["severity", "page"],
  ]);
});

// tests/alerting/promtool-agrees.test.ts compares what is refused with what promtool refuses.
test.each([
  [
    "an indentation that is none",
    "        for: 5m",
    "       for: 5m",
    "rules.yaml:12:1: This is no valid YAML",
  ],
  [
    "an unknown field",
    "for: 5m",
    "fro: 5m",
    'rules.yaml:12:9: "fro" is no field of a rule. There are: record, alert',
  ],
  [
    "an unknown field of a group",
    "interval:",
    "intervall:",
    'rules.yaml:3:5: "intervall" is no field of a group.',
  ],
  ["no duration", "for: 5m", "for: 5 minutes", 'rules.yaml:12:14: "5 minutes" is no duration for "for".'],
  ["no PromQL", "job:a:rate5m > 1", "job:a:rate5m > > 1", "rules.yaml:10:26: This is no PromQL:"],
  ["no PromQL, in its second line", "and up == 1", "and up{ == 1", "rules.yaml:11:19: This is no PromQL:"],
  [
    "no PromQL, in one line",
    "rate(a_total[5m])",
    "ratte(a_total[5m])",
    "rules.yaml:7:29: This is no PromQL: there is no function ratte.",
  ],
  ["neither alert nor record", "alert: TooMany", "limit: 1", 'A rule has either "alert:'],
  [
    "a recorded series that waits",
    "(rate(a_total[5m]))",
    "(rate(a_total[5m]))\n        for: 5m",
    'A recorded series has no "for"',
  ],
  ["a label that cannot be one", "severity: page", "sever-ity: page", '"sever-ity" is no name for a label.'],
  ["a name of no series", "job:a:rate5m\n", "job a\n", '"job a" is no name of a series.'],
  [
    "no expression",
    "        expr: sum by (job) (rate(a_total[5m]))\n",
    "",
    "job:a:rate5m has no expression.",
  ],
  ["a list that is none", "    rules:\n      - record", "    rules:\n        record", "rules.yaml:"],
])("%s is a fault with its place", (_, old, now, fault) => {
  expect(good).toContain(old);
  expect(faultsOf(good.replace(old, now)).join("\n")).toContain(fault);
});

test("two groups of one name are a fault, as is a group without one", () => {
  expect(faultsOf("groups:\n  - name: a\n  - name: a\n")).toEqual([
    "rules.yaml:3:11: There are two of the group a. Rename or remove one.",
  ]);
  expect(faultsOf("groups:\n  - rules: []\n")).toEqual([
    'rules.yaml:2:5: This group has no name. Add "name: …".',
  ]);
});

test("a file that is not valid is refused with all of its faults", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-rules-"));
  try {
    const path = join(folder, "rules.yaml");
    await writeFile(path, good.replace("for: 5m", "fro: 5m").replace("interval", "intervall"));
    await expect(readRuleFile(path)).rejects.toMatchObject({
      code: "invalid_rule_file",
      message: expect.stringMatching(/rules\.yaml:3:5: .*\n.*rules\.yaml:12:9: /),
    });
    await writeFile(path, good);
    expect((await readRuleFile(path)).groups).toHaveLength(1);
  } finally {
    await rm(folder, { recursive: true });
  }
});
