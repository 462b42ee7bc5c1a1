// The checked chain: metric → rule → alert → test, runbook, route → receiver → message. A link that is missing, or that
// leads to what there is not, is a fault that says what to add.
import {
  type CatalogueEntry,
  catalogue,
  externalSeries,
  syntheticSeries,
  targetLabels,
} from "@ectus/monitoring";
import { type Rule, type RuleFile, readRules } from "../rule-files.ts";
import { type Fault, faultIn } from "../yaml-positions.ts";
import { checkAlerts } from "./alerts.ts";
import {
  type ChainContext,
  expressionChecker,
  type FoundAlert,
  type FoundExpression,
} from "./chain-context.ts";
import { type ChainFiles, chainFile, filesIn, readChainFiles, rulesFolder } from "./chain-files.ts";
import { type KnownSeries, knownSeries, type Shape } from "./known-series.ts";
import { checkLoaded } from "./loaded.ts";
import { checkMessageTemplates } from "./message-templates.ts";
import { checkRecordings } from "./recordings.ts";
import { labelsOfResult } from "./result-labels.ts";
import { checkRouting } from "./routing.ts";
import { checkRuleTests, readRuleTests } from "./rule-tests.ts";
import { checkRunbookList, checkRunbooks, queriesOf, readGuides, readRunbooks } from "./runbooks.ts";
import { checkUsedBy } from "./used-by.ts";
import { alertValueProblems, valueProblems } from "./values.ts";

/** The rule files that there have to be; what else has groups is one as well. */
const neededRuleFiles = ["alerts.yaml", "recording-rules.yaml", "objective-rules.yaml"];

export interface ChainOptions {
  /** The catalogue of metrics, if not the platform's own. */
  readonly metrics?: Readonly<Record<string, CatalogueEntry>>;
}

/** What is wrong in the chain of the project in `root`; nothing in one that has no rules at all. */
export async function checkChain(root: string): Promise<readonly Fault[]> {
  return checkChainFiles(await readChainFiles(root));
}

export function checkChainFiles(
  files: ChainFiles,
  { metrics = catalogue }: ChainOptions = {},
): readonly Fault[] {
  if (![...files.keys()].some((path) => path.startsWith(`${rulesFolder}/`))) return [];
  const read = readRuleFiles(files);
  const unreadable = read.flatMap(({ faults }) => faults);
  // The rest would only be what follows from rules that are not there.
  if (unreadable.length > 0) return unreadable;
  const ruleFiles = read.map(({ file }) => file);
  const context = contextOf(files, ruleFiles, metrics);
  const tests = readRuleTests(files);
  const runbooks = readRunbooks(files);
  const guides = readGuides(files);
  const expressions: readonly FoundExpression[] = [
    ...tests.expressions,
    ...queriesOf([...runbooks, ...guides]),
  ];
  const checked = expressions.map(expressionChecker(context.known));
  const rules = [...context.alerts, ...context.recordings];
  const used = new Set([
    ...context.alerts.flatMap(({ result }) => result.metrics),
    ...context.recordings.flatMap(({ rule, result }) =>
      result.metrics.filter((name) => name !== rule.name.value),
    ),
    ...checked.flatMap(({ metrics }) => metrics),
  ]);
  const faults = [
    ...rules.flatMap(({ rule, file, result }) =>
      [
        ...result.problems,
        ...valueProblems(rule.expression, context.known),
        ...(rule.kind === "alert" && result.metrics.length > 0
          ? alertValueProblems(rule.expression, context.known)
          : []),
      ].map(({ offset, message }) => faultIn(file.source, rule.expression.located, offset, message)),
    ),
    ...checkAlerts(context),
    ...checkRecordings(context, used),
    ...tests.faults,
    ...checked.flatMap((expression) => expression.faults),
    ...checkRuleTests(context, tests),
    ...checkRunbooks(context, runbooks),
    ...checkRunbookList(context),
    ...checkLoaded(context, ruleFiles),
    ...checkUsedBy(context, metrics),
    ...checkRouting(context),
    ...checkMessageTemplates(context),
  ];
  return faults.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line));
}

function readRuleFiles(files: ChainFiles): readonly ReturnType<typeof readRules>[] {
  const needed = neededRuleFiles.map((name) => {
    const path = `${rulesFolder}/${name}`;
    const file = files.get(path);
    if (file !== undefined) return readRules(file.yaml());
    const faults = [{ path, line: 1, message: "This rule file is not there. Prometheus is to load it." }];
    return { ...readRules(chainFile(path, "").yaml()), faults };
  });
  const others = filesIn(files, rulesFolder).filter(
    ({ path, text }) => !neededRuleFiles.some((name) => path.endsWith(`/${name}`)) && /^groups:/m.test(text),
  );
  return [...needed, ...others.map((file) => readRules(file.yaml()))];
}

function contextOf(
  files: ChainFiles,
  ruleFiles: readonly RuleFile[],
  metrics: Readonly<Record<string, CatalogueEntry>>,
): ChainContext {
  const found = ruleFiles.flatMap((file) =>
    file.groups.flatMap(({ rules }) => rules.map((rule) => ({ rule, file }))),
  );
  const recorded = found.flatMap(({ rule }) => (rule.kind === "record" ? [rule] : []));
  const known = knownSeries({ catalogue: metrics, externalSeries, syntheticSeries, targetLabels }, recorded);
  return {
    files,
    known,
    alerts: found.flatMap(({ rule, file }) => (rule.kind === "alert" ? [foundAlert(rule, file, known)] : [])),
    recordings: found.flatMap(({ rule, file }) =>
      rule.kind === "record" ? [{ rule, file, result: labelsOfResult(rule.expression, known) }] : [],
    ),
  };
}

function foundAlert(rule: Rule & { kind: "alert" }, file: RuleFile, known: KnownSeries): FoundAlert {
  const result = labelsOfResult(rule.expression, known);
  const own = new Map([...rule.labels].map(([name, { value }]) => [name, { values: [value] }] as const));
  own.set("alertname", { values: [rule.name.value] });
  const shape: Shape = {
    labels: new Map([...result.shape.labels, ...own]),
    sure: result.shape.sure.union(new Set(own.keys())),
    anyLabel: result.shape.anyLabel,
  };
  return { name: rule.name.value, rule, file, result, shape };
}
