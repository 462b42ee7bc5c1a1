// What expressions do with values, as far as it cannot be meant: a counter that is taken as it is, a rate of what is no
// counter, a quantile of what has no buckets, an alert that compares nothing. promtool accepts all of that, and so do
// rules' tests whose series fit.
import type { SyntaxNode } from "@lezer/common";
import { argumentsOf, childrenOf, type Expression, isExpression, readSelector, textOf } from "../promql.ts";
import type { KnownSeries } from "./known-series.ts";
import type { Problem } from "./result-labels.ts";

/** What is wrong with the values in an expression. */
export function valueProblems({ text, tree }: Expression, known: KnownSeries): readonly Problem[] {
  const problems: Problem[] = [];
  const refuse = (node: SyntaxNode, message: string) => problems.push({ offset: node.from, message });
  tree.iterate({
    enter({ node }) {
      if (node.name === "FunctionCall") checkCall(node, { text, known, refuse });
      if (node.name === "BinaryExpr" && operationOf(node) !== "set") {
        for (const side of childrenOf(node).filter(isExpression)) {
          const counter = rawCounter(side, text, known);
          if (counter !== undefined) refuse(side, rawValue(counter));
        }
      }
    },
  });
  return problems;
}

/** What is wrong with an expression as that of an alert, besides. */
export function alertValueProblems({ text, tree }: Expression, known: KnownSeries): readonly Problem[] {
  const top = tree.topNode.firstChild;
  if (top === null || filters(top, text)) return [];
  const counter = rawCounter(top, text, known);
  const message =
    counter === undefined
      ? "The alert fires for as long as there are series, since nothing is left out by a comparison. Compare with a threshold, without bool."
      : rawValue(counter);
  return [{ offset: top.from, message }];
}

interface Context {
  readonly text: string;
  readonly known: KnownSeries;
  readonly refuse: (node: SyntaxNode, message: string) => void;
}

const ofCounters = new Set(["rate", "irate", "increase"]);
const ofGauges: Readonly<Record<string, string>> = {
  deriv: "rate",
  delta: "rate",
  idelta: "irate",
  predict_linear: "rate",
};
const withQuantile = new Set(["histogram_quantile", "quantile_over_time"]);

function checkCall(node: SyntaxNode, { text, known, refuse }: Context): void {
  const name = textOf(text, node.firstChild ?? node);
  const args = argumentsOf(node);
  const selector = args.map(selectorIn).find((found) => found !== undefined);
  const metric = selector && readSelector(text, selector).metric;
  const kind = metric === undefined ? undefined : known.find(metric)?.kind;
  if (ofCounters.has(name) && kind === "gauge") {
    refuse(
      node,
      `${metric} is a gauge, and ${name}() takes each of its falls for a restart. Use deriv(), or avg_over_time().`,
    );
  }
  const instead = ofGauges[name];
  if (instead !== undefined && kind === "counter")
    refuse(node, `${metric} is a counter, and ${name}() is wrong when it restarts. Use ${instead}().`);
  const [quantile, buckets] = args;
  if (quantile !== undefined && withQuantile.has(name)) {
    const value = Number(textOf(text, quantile));
    if (value < 0 || value > 1) refuse(quantile, `A quantile is from 0 to 1: write 95 % as 0.95.`);
  }
  if (name === "histogram_quantile" && buckets !== undefined) {
    const counter = rawCounter(buckets, text, known);
    if (counter !== undefined) refuse(buckets, rawValue(counter));
  }
}

function rawValue(counter: string): string {
  return `${counter} is a counter: it has grown since its process began. Take its rate(), as in rate(${counter}[5m]).`;
}

/** The selector that is a call's argument itself, with its range. */
function selectorIn(node: SyntaxNode): SyntaxNode | undefined {
  if (node.name === "VectorSelector") return node;
  const inner = childrenOf(node).find(isExpression);
  return passesThrough.has(node.name) && inner !== undefined ? selectorIn(inner) : undefined;
}

const passesThrough = new Set([
  "ParenExpr",
  "MatrixSelector",
  "SubqueryExpr",
  "OffsetExpr",
  "StepInvariantExpr",
]);

/** Aggregations whose result is of the same kind as what they are taken of. */
const keepValues = new Set(["sum", "avg", "min", "max", "topk", "bottomk"]);

/** The counter whose value, or whose sum, an expression is; undefined where it is another value. */
function rawCounter(node: SyntaxNode, text: string, known: KnownSeries): string | undefined {
  if (node.name === "VectorSelector") {
    const { metric } = readSelector(text, node);
    return metric !== undefined && known.find(metric)?.kind === "counter" ? metric : undefined;
  }
  const inner =
    node.name === "AggregateExpr" && keepValues.has(textOf(text, node.firstChild ?? node).toLowerCase())
      ? argumentsOf(node).at(-1)
      : passesThrough.has(node.name)
        ? childrenOf(node).find(isExpression)
        : undefined;
  return inner === undefined ? undefined : rawCounter(inner, text, known);
}

const comparisons = ["Eql", "Neq", "Gtr", "Gte", "Lss", "Lte"];

export function operationOf(node: SyntaxNode): "set" | "comparison" | "arithmetic" {
  if (["And", "Or", "Unless"].some((name) => node.getChild(name))) return "set";
  return comparisons.some((name) => node.getChild(name)) ? "comparison" : "arithmetic";
}

/** Whether an expression has a result only at times. */
function filters(node: SyntaxNode, text: string): boolean {
  if (node.name === "FunctionCall" && /^absent/.test(textOf(text, node))) return true;
  const parts = childrenOf(node).filter(isExpression);
  const anyOfThem = () => parts.some((part) => filters(part, text));
  if (node.name === "BinaryExpr") {
    if (node.getChild("Or")) return parts.every((part) => filters(part, text));
    if (node.getChild("Unless")) return true;
    const kept = operationOf(node) === "comparison" && !node.getChild("BoolModifier");
    return kept || anyOfThem();
  }
  if (node.name === "FunctionCall" || node.name === "AggregateExpr")
    return argumentsOf(node).some((argument) => filters(argument, text));
  return anyOfThem();
}
