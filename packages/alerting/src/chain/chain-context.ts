// What the links of the chain share: the files that were read, and the one way to check an expression wherever it is.
import { EctusError } from "@ectus/core";
import { type Expression, parseExpression } from "../promql.ts";
import type { AlertRule, RecordingRule, RuleFile } from "../rule-files.ts";
import type { Fault } from "../yaml-positions.ts";
import type { ChainFiles } from "./chain-files.ts";
import type { KnownSeries, Shape } from "./known-series.ts";
import { labelsOfResult, type ResultLabels } from "./result-labels.ts";
import { valueProblems } from "./values.ts";

export interface ChainContext {
  readonly files: ChainFiles;
  readonly known: KnownSeries;
  readonly alerts: readonly FoundAlert[];
  readonly recordings: readonly FoundRecording[];
}

export interface FoundAlert {
  readonly name: string;
  readonly rule: AlertRule;
  readonly file: RuleFile;
  readonly result: ResultLabels;
  /** Labels of the alert as Alertmanager gets it. */
  readonly shape: Shape;
}

export interface FoundRecording {
  readonly rule: RecordingRule;
  readonly file: RuleFile;
  readonly result: ResultLabels;
}

/**
 * An expression in a rule's test or a runbook. Those of dashboards (k8s/grafana/dashboards/) become one more list of
 * these in chain.ts, and are checked with them.
 */
export interface FoundExpression {
  readonly text: string;
  /** The place of the expression's character number `offset`. */
  readonly faultAt: (offset: number, message: string) => Fault;
}

export interface CheckedExpression {
  readonly faults: readonly Fault[];
  /** Names of series that it asks for. */
  readonly metrics: readonly string[];
}

/** A check of expressions. Series in rules' tests recur, so each text is looked at once. */
export function expressionChecker(known: KnownSeries): (expression: FoundExpression) => CheckedExpression {
  const judged = new Map<string, JudgedText>();
  return ({ text, faultAt }) => {
    const { problems, metrics } = judged.get(text) ?? judgeText(text, known);
    judged.set(text, { problems, metrics });
    return { faults: problems.map(({ offset, message }) => faultAt(offset, message)), metrics };
  };
}

type JudgedText = Pick<ResultLabels, "problems" | "metrics">;

function judgeText(text: string, known: KnownSeries): JudgedText {
  let expression: Expression;
  try {
    expression = parseExpression(text);
  } catch (error) {
    if (!(error instanceof EctusError) || error.code !== "invalid_expression") throw error;
    const { offset, reason } = error.details;
    return { problems: [{ offset: Number(offset), message: `This is no PromQL: ${reason}.` }], metrics: [] };
  }
  const { problems, metrics } = labelsOfResult(expression, known);
  return { problems: [...problems, ...valueProblems(expression, known)], metrics };
}
