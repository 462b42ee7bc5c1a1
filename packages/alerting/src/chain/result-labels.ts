// Which labels the result of an expression has, and what cannot be right in it: a series that nothing exposes, a label
// that a series does not have, a value that a label never takes, sides that never match. It follows what Prometheus's
// engine does with labels (promql/engine.go).
import type { LabelRule } from "@ectus/monitoring";
import type { SyntaxNode } from "@lezer/common";
import {
  argumentsOf,
  childrenOf,
  type Expression,
  isExpression,
  type Matcher,
  readLabelNames,
  readSelector,
  stringValue,
  textOf,
} from "../promql.ts";
import { either, has, type KnownSeries, noSuchLabel, type Shape } from "./known-series.ts";
import { checkMatching, readMatching } from "./matching.ts";

export interface ResultLabels {
  /** Of a number or a text: no labels. */
  readonly shape: Shape;
  /** Names of the series that it asks for and that exist. */
  readonly metrics: readonly string[];
  readonly problems: readonly Problem[];
}

export interface Problem {
  /** Where in the expression's text. */
  readonly offset: number;
  readonly message: string;
}

const noLabels: Shape = { labels: new Map(), sure: new Set(), anyLabel: false };
const anyLabels: Shape = { labels: new Map(), sure: new Set(), anyLabel: true };
const anyValue: LabelRule = { about: "what the expression makes of it", atMost: Number.POSITIVE_INFINITY };

export function labelsOfResult({ text, tree }: Expression, known: KnownSeries): ResultLabels {
  const metrics = new Set<string>();
  const problems: Problem[] = [];
  const context: Context = {
    text,
    known,
    metrics,
    refuse: (offset, message) => problems.push({ offset, message }),
  };
  const top = tree.topNode.firstChild;
  const shape = top === null ? undefined : shapeOf(top, context);
  return { shape: shape ?? noLabels, metrics: [...metrics], problems };
}

interface Context {
  readonly text: string;
  readonly known: KnownSeries;
  readonly metrics: Set<string>;
  readonly refuse: (offset: number, message: string) => void;
}

/** Undefined for what is no vector. */
function shapeOf(node: SyntaxNode, context: Context): Shape | undefined {
  switch (node.name) {
    case "VectorSelector":
      return selected(node, context);
    case "AggregateExpr":
      return aggregated(node, context);
    case "FunctionCall":
      return called(node, context);
    case "BinaryExpr":
      return combined(node, context);
    case "NumberDurationLiteral":
    case "StringLiteral":
      return undefined;
    default: {
      // Parentheses, ranges, subqueries, offsets, signs: the labels of what is in them.
      const inner = childrenOf(node).find(({ name }) => /Expr$|Selector$|Call$|Literal$/.test(name));
      return inner === undefined ? undefined : shapeOf(inner, context);
    }
  }
}

function selected(node: SyntaxNode, context: Context): Shape {
  const { metric, matchers, from } = readSelector(context.text, node);
  // What has no name can be anything: how many series there are of a job, say.
  if (metric === undefined) return anyLabels;
  const series = context.known.find(metric);
  if (series === undefined) {
    context.refuse(from, unknownSeries(metric, context.known));
    return anyLabels;
  }
  context.metrics.add(metric);
  const labels = new Map(series.labels);
  for (const matcher of matchers) {
    if (matcher.label === "__name__") continue;
    const rule = labels.get(matcher.label);
    if (rule === undefined) {
      if (!series.anyLabel) context.refuse(matcher.from, noSuchLabel(metric, matcher.label, series));
      continue;
    }
    const impossible = impossibleValue(matcher, matcher.label === "status" ? statusRule(rule) : rule);
    if (impossible !== undefined) {
      context.refuse(
        matcher.from,
        `${matcher.label} of ${metric} is never ${impossible}. It is ${closedValues(rule).length === 0 ? "a status code, as 503, or 5.. for a regular expression" : `one of: ${closedValues(rule).join(", ")}`}.`,
      );
    }
    const left = narrowed(matcher, rule);
    const fault = impossible === undefined ? matcherProblem(matcher, rule, left) : undefined;
    if (fault !== undefined) context.refuse(matcher.from, fault);
    labels.set(matcher.label, impossible === undefined ? left : rule);
  }
  return { ...series, labels };
}

function unknownSeries(metric: string, known: KnownSeries): string {
  const histogram = known.find(`${metric}_count`) !== undefined;
  if (histogram) return `${metric} is a histogram. Use ${metric}_bucket, ${metric}_count or ${metric}_sum.`;
  const nearest = known.nearest(metric);
  const hint = nearest === undefined ? "" : ` Is ${nearest} meant?`;
  return metric.includes(":")
    ? `No rule records ${metric}.${hint} If it is new, add a rule "record: ${metric}" to k8s/prometheus/recording-rules.yaml.`
    : `Nothing exposes ${metric}.${hint} If it is new, add it to packages/monitoring/src/catalogue/, to one of external-*.ts there if another program exposes it.`;
}

function closedValues(rule: LabelRule): readonly string[] {
  return "values" in rule ? rule.values : [];
}

const statusCodes = Array.from({ length: 500 }, (_, index) => String(100 + index));

/** The catalogue leaves open which statuses there are; "5xx" is none in any case. */
function statusRule(rule: LabelRule): LabelRule {
  return "values" in rule ? rule : { values: statusCodes };
}

/** The value, or the part of a regular expression, that a closed label never has. */
export function impossibleValue({ operator, alternatives }: Matcher, rule: LabelRule): string | undefined {
  if (!("values" in rule)) return undefined;
  // What goes past a metric's cap of series is counted in one whose labels all have this value.
  const values = [...rule.values, "overflow"];
  const never = alternatives.find((alternative) =>
    operator.endsWith("~")
      ? !values.some((value) => wholeMatch(alternative, value))
      : !values.includes(alternative),
  );
  return never === undefined ? undefined : JSON.stringify(never);
}

/** What is wrong with a matcher whose value the label can have. */
function matcherProblem(
  { label, operator, value }: Matcher,
  rule: LabelRule,
  left: LabelRule,
): string | undefined {
  const isPattern = operator.endsWith("~");
  if (isPattern && !isRegularExpression(value)) return `${JSON.stringify(value)} is no regular expression.`;
  const all = operator === "!~" && ["", "a", "/0"].every((one) => wholeMatch(value, one));
  if (all || ("values" in left && left.values.length === 0)) {
    const values = closedValues(rule);
    return `This leaves nothing: ${label} is ${values.length === 0 ? "always such" : `always ${values.join(" or ")}`}.`;
  }
  if (!isPattern && !("values" in rule) && /\||[.\])][*+]|\.\.|\[.*\]/.test(value)) {
    const write = `${label}${operator === "=" ? "=~" : "!~"}${JSON.stringify(value)}`;
    return `${label} is compared with ${JSON.stringify(value)} letter by letter. If it is a regular expression, write ${write}.`;
  }
  return undefined;
}

function isRegularExpression(pattern: string): boolean {
  // What groups of RE2 begin with is partly not JavaScript's.
  if (pattern.includes("(?")) return true;
  try {
    return new RegExp(pattern, "s") instanceof RegExp;
  } catch {
    return false;
  }
}

function wholeMatch(pattern: string, value: string): boolean {
  try {
    return new RegExp(`^(?:${pattern})$`, "s").test(value);
  } catch {
    // RE2 knows flags in the middle that JavaScript does not; promtool reads those.
    return true;
  }
}

function narrowed({ operator, alternatives, value }: Matcher, rule: LabelRule): LabelRule {
  if (operator === "=") return { values: [value] };
  if ("values" in rule) {
    const asked = (one: string) =>
      operator === "!=" ? one === value : alternatives.some((alternative) => wholeMatch(alternative, one));
    return { values: rule.values.filter((one) => asked(one) === (operator === "=~")) };
  }
  if (operator !== "=~") return rule;
  return alternatives.every((alternative) => /^[\w /:-]*$/.test(alternative))
    ? { values: alternatives }
    : rule;
}

/** Aggregations whose result is some of the samples themselves, with all of their labels. */
const choosing = ["topk", "bottomk", "limitk", "limit_ratio"];

function aggregated(node: SyntaxNode, context: Context): Shape {
  const { text, refuse } = context;
  const operator = textOf(text, node.firstChild ?? node).toLowerCase();
  const args = argumentsOf(node);
  const input = args.map((arg) => shapeOf(arg, context)).at(-1) ?? noLabels;
  const modifier = node.getChild("AggregateModifier");
  const grouping = modifier?.getChild("GroupingLabels");
  const names = grouping ? readLabelNames(text, grouping) : [];
  for (const name of names) {
    if (!has(input, name))
      refuse(grouping?.from ?? node.from, noSuchLabel(`What ${operator} is taken of`, name, input));
  }
  const kept = modifier?.getChild("Without") ? without(input, names) : only(input, names);
  if (choosing.includes(operator)) return input;
  const first = args[0];
  if (operator !== "count_values" || first?.name !== "StringLiteral") return kept;
  return withLabels(kept, [stringValue(text, first)]);
}

function called(node: SyntaxNode, context: Context): Shape | undefined {
  const { text, refuse } = context;
  const name = textOf(text, node.firstChild ?? node);
  const args = argumentsOf(node);
  const shapes = args.map((arg) => shapeOf(arg, context));
  const input = shapes.find((shape) => shape !== undefined);
  switch (name) {
    case "time":
    case "pi":
    case "scalar":
      return undefined;
    case "vector":
      return noLabels;
    case "absent":
    case "absent_over_time":
      return absent(args[0], context);
    case "histogram_quantile":
      if (input && !has(input, "le"))
        refuse(
          node.from,
          `What ${name} is given has no buckets: it lacks the label le. Keep it, as in by (le).`,
        );
      return without(input ?? noLabels, ["le"]);
    case "info":
      return { ...(input ?? noLabels), anyLabel: true };
    case "label_replace":
    case "label_join": {
      const strings = args.map((arg) => (arg.name === "StringLiteral" ? stringValue(text, arg) : ""));
      for (const source of name === "label_replace" ? [strings[3]] : strings.slice(3)) {
        if (input && source && !has(input, source))
          refuse(node.from, noSuchLabel(`What ${name} is given`, source, input));
      }
      return withLabels(input ?? noLabels, [strings[1] ?? ""]);
    }
    default:
      // hour() and the like take the time of evaluation where they are given nothing.
      return input ?? noLabels;
  }
}

/** What is not there has the labels that were asked for by "=", if it is a selector; else none. */
function absent(argument: SyntaxNode | undefined, context: Context): Shape {
  if (argument?.name === "ParenExpr" || argument?.name === "MatrixSelector") {
    return absent(childrenOf(argument).find(isExpression), context);
  }
  if (argument?.name !== "VectorSelector") return noLabels;
  const { matchers } = readSelector(context.text, argument);
  const asked = matchers.filter(({ operator, label }) => operator === "=" && label !== "__name__");
  return {
    labels: new Map(asked.map(({ label, value }) => [label, { values: [value] }])),
    sure: new Set(asked.map(({ label }) => label)),
    anyLabel: false,
  };
}

function combined(node: SyntaxNode, context: Context): Shape | undefined {
  const parts = childrenOf(node);
  const [first] = parts;
  const last = parts.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const left = shapeOf(first, context);
  const right = shapeOf(last, context);
  if (left === undefined || right === undefined) return left ?? right;
  const matching = readMatching(node, context.text);
  checkMatching(node, context.text, matching, left, right, context.refuse);
  if (node.getChild("Or")) return either(left, right);
  if (node.getChild("And") || node.getChild("Unless")) return left;
  if (matching.many === "left") return withLabels(left, matching.included);
  if (matching.many === "right") return withLabels(right, matching.included);
  if (matching.on !== undefined) return only(left, matching.on);
  return without(left, matching.ignoring);
}

function only(shape: Shape, names: readonly string[]): Shape {
  const labels = new Map(names.map((name) => [name, shape.labels.get(name) ?? anyValue]));
  return {
    labels,
    sure: shape.anyLabel ? new Set(names) : shape.sure.intersection(new Set(names)),
    anyLabel: false,
  };
}

function without(shape: Shape, names: readonly string[]): Shape {
  const gone = new Set(names);
  return {
    labels: new Map([...shape.labels].filter(([name]) => !gone.has(name))),
    sure: shape.sure.difference(gone),
    anyLabel: shape.anyLabel,
  };
}

function withLabels(shape: Shape, names: readonly string[]): Shape {
  const added = names.map((name) => [name, anyValue] as const);
  return { ...shape, labels: new Map([...shape.labels, ...added]), sure: shape.sure.union(new Set(names)) };
}
