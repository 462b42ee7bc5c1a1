// promtool reads the same rule files and expressions: it takes every shortened file, and refuses what is refused here.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseExpression, readRuleFile, shortenRules } from "@ectus/alerting";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const programs = await peer("prometheus");
const rules = join(import.meta.dirname, "..", "..", "k8s", "prometheus");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ectus-promtool-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function promtool(...args: string[]): Promise<{ readonly accepts: boolean; readonly says: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(programs?.files.promtool ?? "", args);
    return { accepts: true, says: stdout + stderr };
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    return { accepts: false, says: stdout + stderr };
  }
}

/** Whether each reader takes a rule file. */
async function verdicts(text: string): Promise<{ readonly ours: boolean; readonly promtool: boolean }> {
  const path = join(folder, "rules.yaml");
  await writeFile(path, text);
  const ours = await readRuleFile(path).then(
    () => true,
    () => false,
  );
  return { ours, promtool: (await promtool("check", "rules", path)).accepts };
}

describe.skipIf(!programs)("promtool", () => {
  test.each(["alerts", "recording-rules", "objective-rules"])(
    "takes %s.yaml by any factor, with as many rules",
    async (name) => {
      const file = await readRuleFile(join(rules, `${name}.yaml`));
      const count = file.groups.flatMap((group) => group.rules).length;
      for (const factor of [1, 7, 60, 3_000, 10_000_000]) {
        const path = join(folder, `${name}-${factor}.yaml`);
        await writeFile(path, shortenRules(file, { windows: factor, objective: factor * 50, ages: factor }));
        const { accepts, says } = await promtool("check", "rules", "--lint=all", path);
        expect({ accepts, says }).toMatchObject({
          accepts: true,
          says: expect.stringContaining(`SUCCESS: ${count} rules`),
        });
      }
    },
  );

  const rule = (fields: string) =>
    `groups:\n  - name: g\n    rules:\n      - ${fields.replaceAll("\n", "\n        ")}\n`;

  test.each([
    ["an alert", rule("alert: A\nexpr: up == 0\nfor: 5m\nkeep_firing_for: 1h30m\nlabels: { a: b }")],
    ["a recorded series", rule("record: a:b:c\nexpr: sum(up)\nlabels: { a: '1' }")],
    ["labels that are numbers", rule("record: a\nexpr: up\nlabels: { a: 1, b: true }")],
    ["an unknown field", rule("alert: A\nexpr: up\nfro: 5m")],
    ["an unknown field of a group", "groups:\n  - name: g\n    intervall: 1m\n"],
    ["an unknown field of a file", "groups: []\nrules: []\n"],
    ["a duration with words", rule("alert: A\nexpr: up\nfor: 5 minutes")],
    ["a duration that is a number", rule("alert: A\nexpr: up\nfor: 300")],
    ["a duration of nothing", rule("alert: A\nexpr: up\nfor: 0")],
    ["an alert and a recorded series in one", rule("alert: A\nrecord: b\nexpr: up")],
    ["neither", rule("expr: up")],
    ["no expression", rule("alert: A")],
    ["a recorded series that waits", rule("record: a\nexpr: up\nfor: 5m")],
    ["a recorded series with annotations", rule("record: a\nexpr: up\nannotations: { a: b }")],
    ["a group without a name", "groups:\n  - rules: []\n"],
    ["two groups of one name", "groups:\n  - name: a\n  - name: a\n"],
    ["groups that are no list", "groups: {}\n"],
    ["an alert's label that is the name", rule("alert: A\nexpr: up\nlabels: { __name__: b }")],
    ["a broken indentation", "groups:\n  - name: g\n   rules: []\n"],
    ["the same key twice", "groups:\n  - name: g\n    name: h\n"],
    ["no groups", "groups: []\n"],
  ])("judges %s as we do", async (_, text) => {
    const { ours, promtool } = await verdicts(text);
    expect(ours).toBe(promtool);
  });

  test("judges expressions as we do", async () => {
    const expressions = [
      "rate(x[5m])",
      "rat(x[5m])",
      "sum by (a, b) (x) / on (a) group_left (c) y",
      "sum by a (x)",
      'x{a="b",}',
      'x{a="b}',
      "x{a=~`a|b`} offset -5m",
      "x[5m:1m]",
      "max_over_time(x[5m:])",
      "x > bool 1",
      "x @ end()",
      '{"a.b"}',
      'x{a="\\d"}',
      "x and on () y",
      "x or",
      "(x",
      "x # a comment",
      "1 + 2 ^ -3",
      "topk(5, x) by (a)",
      "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
      "absent(up{job='a'})",
      "rate(x[5])",
      "x{} == 1h",
    ];
    for (const text of expressions) {
      const ours = (() => {
        try {
          parseExpression(text);
          return true;
        } catch {
          return false;
        }
      })();
      expect({ text, accepted: ours }).toEqual({
        text,
        accepted: (await promtool("--experimental", "promql", "format", text)).accepts,
      });
    }
  });
});
