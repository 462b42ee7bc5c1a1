// A query marked `promql run firing` has an answer at every moment at which its alert fires in the alert's own tests,
// whichever of its reasons it fires for.
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { readRunnableBlocks } from "./runbook-blocks.ts";

const rules = join(import.meta.dirname, "..", "..", "k8s", "prometheus");
const ruleTests = join(rules, "tests");
const prometheus = await peer("prometheus");

interface AlertTest {
  readonly name: string;
  readonly input_series: readonly object[];
  readonly alert_rule_test?: readonly {
    readonly eval_time: string;
    readonly alertname: string;
    readonly exp_alerts?: readonly object[];
  }[];
}

interface AlertTests {
  readonly rule_files: readonly string[];
  readonly tests: readonly AlertTest[];
}

/** By the file in docs/runbooks. */
const queries = Map.groupBy(
  (await readRunnableBlocks(["runbooks"])).filter(({ marks }) => marks.includes("firing")),
  ({ file }) => basename(file, ".md"),
);

/** The alert's tests in which it fires, with the runbook's queries in the place of what the alert has to say. */
async function testsOf(runbook: string): Promise<AlertTests> {
  const file: AlertTests = parse(await readFile(join(ruleTests, `${runbook}.test.yaml`), "utf8"));
  const asked = queries.get(runbook) ?? [];
  const tests = file.tests.map(({ alert_rule_test: moments = [], ...test }) => ({
    ...test,
    promql_expr_test: moments
      .filter(({ alertname, exp_alerts: alerts = [] }) => alerts.length > 0 && isOf(alertname, runbook))
      .flatMap(({ eval_time }) =>
        asked.map(({ code }) => ({
          // Now or a minute ago: an alert may be kept firing for one (keep_firing_for).
          expr: `count_over_time((count(\n${code}))[2m:1m]) > bool 0`,
          eval_time,
          exp_samples: [{ labels: "{}", value: 1 }],
        })),
      ),
  }));
  return {
    ...file,
    rule_files: file.rule_files.map((path) => join(ruleTests, path)),
    tests: tests.filter(({ promql_expr_test: queriesOfTest }) => queriesOfTest.length > 0),
  };
}

const isOf = (alert: string, runbook: string): boolean => alert.toLowerCase() === runbook.replaceAll("-", "");

describe.skipIf(prometheus === undefined)("queries that promise an answer", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-firing-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function ask(name: string, tests: object): Promise<string> {
    const path = join(folder, `${name}.yaml`);
    await writeFile(path, stringify(tests));
    const promtool = prometheus?.files.promtool ?? "";
    return promisify(execFile)(promtool, ["test", "rules", path], { timeout: 60_000 }).then(
      () => "",
      ({ stdout, stderr }) => `${stdout}${stderr}`,
    );
  }

  test("there is one in the runbook of every alert that has tests", async () => {
    const tested = (await readdir(ruleTests)).map((name) => name.replace(".test.yaml", ""));
    expect([...queries.keys()].toSorted()).toEqual(
      tested.filter((name) => name !== "recording-rules").toSorted(),
    );
  });

  test.each([...queries.keys()])("%s keeps its promise", { timeout: 90_000 }, async (runbook) => {
    const tests = await testsOf(runbook);
    expect(tests.tests).not.toEqual([]);
    expect(await ask(runbook, tests)).toBe("");
  });
});
