// Tests of rules, which promtool runs: that each alert has a case that fires and one that does not, and that they ask for
// series and alerts that there are.
import { isMap, isScalar, isSeq, type Node, visit } from "yaml";
import { type Fault, faultIn, isText, type Located, type YamlFile } from "../yaml-positions.ts";
import { fileNameOf } from "./alert-labels.ts";
import type { ChainContext, FoundExpression } from "./chain-context.ts";
import { type ChainFiles, filesIn, ruleTestsFolder } from "./chain-files.ts";

export interface RuleTests {
  readonly cases: readonly AlertCase[];
  readonly expressions: readonly FoundExpression[];
  readonly faults: readonly Fault[];
}

interface AlertCase {
  readonly file: YamlFile;
  readonly alert: Located;
  readonly fires: boolean;
}

export function readRuleTests(files: ChainFiles): RuleTests {
  const cases: AlertCase[] = [];
  const expressions: FoundExpression[] = [];
  const faults: Fault[] = [];
  for (const each of filesIn(files, ruleTestsFolder)) {
    if (!each.path.endsWith(".test.yaml")) continue;
    const read = each.yaml();
    faults.push(...read.faults);
    if (read.faults.length > 0) continue;
    visit(read.file.root, {
      Pair(_, { key, value }) {
        if (!isScalar(key)) return;
        if (key.value === "alert_rule_test") cases.push(...alertCases(read.file, value));
        if ((key.value === "series" || key.value === "expr") && isText(value)) {
          const located = read.file.locate(value);
          expressions.push({
            text: located.value,
            faultAt: (offset, message) => faultIn(read.file, located, offset, message),
          });
        }
      },
    });
  }
  return { cases, expressions, faults };
}

export function checkRuleTests({ alerts }: ChainContext, { cases }: RuleTests): readonly Fault[] {
  const faults: Fault[] = [];
  for (const { file, alert } of cases) {
    if (alerts.some(({ name }) => name === alert.value)) continue;
    faults.push(
      file.faultAt(
        alert.range[0],
        `There is no alert ${alert.value}. Name one of k8s/prometheus/*.yaml, or remove the case.`,
      ),
    );
  }
  for (const { name, rule, file, result } of alerts) {
    // What asks for no series, as the Watchdog's vector(1), always fires.
    const alwaysFires = result.metrics.length === 0;
    const path = `${ruleTestsFolder}/${fileNameOf(name)}.test.yaml`;
    const own = cases.filter((one) => one.alert.value === name && one.file.path === path);
    const lacks = [
      ...(own.some(({ fires }) => fires)
        ? []
        : ["one in which it fires (exp_alerts with its labels and annotations)"]),
      ...(alwaysFires || own.some(({ fires }) => !fires)
        ? []
        : ["one in which it does not (exp_alerts: [])"]),
    ];
    if (lacks.length === 0) continue;
    faults.push(
      file.source.faultAt(
        rule.name.range[0],
        `${name} lacks a test. Add to ${path}, under alert_rule_test, ${lacks.join(", and ")}.`,
      ),
    );
  }
  return faults;
}

function alertCases(file: YamlFile, list: unknown): readonly AlertCase[] {
  if (!isSeq(list)) return [];
  return list.items.flatMap((item) => {
    const name = isMap(item) ? item.get("alertname", true) : undefined;
    if (!isMap(item) || !isText(name)) return [];
    const expected = item.get("exp_alerts", true) as Node | undefined;
    return [{ file, alert: file.locate(name), fires: isSeq(expected) && expected.items.length > 0 }];
  });
}
