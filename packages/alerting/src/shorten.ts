// Rules as they are, but quicker: every time that a rule looks back or waits is divided by a factor, so that a drill sees
// in seconds what takes minutes. Thresholds stay, since rates and ratios do not depend on the window. All else in a file
// stays the same text.
import type { SyntaxNode } from "@lezer/common";
import { divideDuration, durationMs, formatDuration } from "./duration.ts";
import { childrenOf, type Expression, parseExpression, textOf } from "./promql.ts";
import type { Rule, RuleFile, RuleGroup } from "./rule-files.ts";
import type { Located } from "./yaml-positions.ts";

export interface ShorteningFactors {
  /** Divides ranges, offsets, `for`, `keep_firing_for` and intervals of groups. */
  readonly windows: number;
  /**
   * Divides ranges, offsets and intervals of groups of the service's objective, whose windows are up to three days long.
   * Their `for` is not of that kind: it decides which alert comes first, and is divided like all others.
   */
  readonly objective: number;
  /** Divides how old something may become: see `ageSeries`. */
  readonly ages: number;
}

/**
 * Series whose value is how long something has lasted already, in seconds. What they are compared with is a time to
 * wait, not a measure of how bad things are, so it is shortened too; as is what an expression with time() is compared
 * with. A new series of this kind is a line here.
 */
const ageSeries: ReadonlySet<string> = new Set(["export_oldest_running_seconds"]);

/** The rule file's text with its times divided. */
export function shortenRules({ source, groups }: RuleFile, factors: ShorteningFactors): string {
  const edits: Edit[] = [];
  for (const group of groups) {
    const groupFactor = isObjectiveGroup(group) ? factors.objective : factors.windows;
    for (const time of [group.interval, group.queryOffset]) edits.push(...divideText(time, groupFactor));
    for (const rule of group.rules) {
      const windows = isObjectiveGroup(group) || isObjectiveRule(rule) ? factors.objective : factors.windows;
      if (rule.kind === "alert") {
        for (const time of [rule.for, rule.keepFiringFor]) edits.push(...divideText(time, factors.windows));
      }
      const { located } = rule.expression;
      edits.push(...inSource(located, expressionEdits(rule.expression, { windows, ages: factors.ages })));
    }
  }
  return apply(source.text, edits);
}

/** A query, as of a runbook, that looks back as far as shortened rules do. */
export function shortenExpression(
  text: string,
  factors: Pick<ShorteningFactors, "windows" | "ages">,
): string {
  return apply(text, expressionEdits(parseExpression(text), factors));
}

/** Whether a group holds rules of the service's objective. */
function isObjectiveGroup({ name }: RuleGroup): boolean {
  return /^objective\b/.test(name.value);
}

function isObjectiveRule({ labels }: Rule): boolean {
  return labels.get("area")?.value === "objective";
}

interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

function apply(text: string, edits: readonly Edit[]): string {
  const sorted = edits.toSorted((a, b) => b.from - a.from);
  return sorted.reduce((done, { from, to, text: put }) => done.slice(0, from) + put + done.slice(to), text);
}

function divideText(time: Located | undefined, factor: number): readonly Edit[] {
  if (time === undefined) return [];
  const [from, to] = time.range;
  return [{ from, to, text: formatDuration(divideDuration(durationMs(time.value) ?? 0, factor)) }];
}

/** Edits of an expression as edits of the file that it is in. */
function inSource(located: Located, edits: readonly Edit[]): readonly Edit[] {
  const [from, to] = located.range;
  const placed = edits.map((edit) => ({
    ...edit,
    from: located.sourceOffset(edit.from),
    to: located.sourceOffset(edit.to),
  }));
  if (placed.every((edit): edit is Edit => edit.from !== undefined && edit.to !== undefined)) return placed;
  // Folded lines and escapes: the whole text anew, as JSON, which YAML reads as a quoted text. A block's node ends after
  // its last line break, which has to stay.
  return [{ from, to, text: `${JSON.stringify(apply(located.value, edits))}${located.block ? "\n" : ""}` }];
}

function expressionEdits(
  expression: Expression,
  { windows, ages }: Pick<ShorteningFactors, "windows" | "ages">,
): readonly Edit[] {
  const { text, tree, durations } = expression;
  const edits: Edit[] = durations.map(({ ms, from, to }) => ({
    from,
    to,
    text: formatDuration(divideDuration(ms, windows)),
  }));
  tree.iterate({
    enter({ node }) {
      if (node.name === "BinaryExpr") edits.push(...ageThreshold(text, node, ages));
      if (node.name === "FunctionCall") edits.push(...horizon(text, node, windows));
    },
  });
  return edits;
}

const comparisons = ["Eql", "Neq", "Gtr", "Gte", "Lss", "Lte"];

/** The number of seconds that an age is compared with. */
function ageThreshold(text: string, node: SyntaxNode, factor: number): readonly Edit[] {
  const parts = childrenOf(node);
  const left = parts[0];
  const right = parts.at(-1);
  if (left === undefined || right === undefined || !parts.some(({ name }) => comparisons.includes(name)))
    return [];
  if (isAge(text, left) && isConstant(right)) return [divided(text, right, factor)];
  if (isAge(text, right) && isConstant(left)) return [divided(text, left, factor)];
  return [];
}

/** How far predict_linear looks ahead. */
function horizon(text: string, node: SyntaxNode, factor: number): readonly Edit[] {
  const [name, body] = childrenOf(node);
  if (name === undefined || body === undefined || textOf(text, name) !== "predict_linear") return [];
  const ahead = childrenOf(body).at(-1);
  return ahead !== undefined && isConstant(ahead) ? [divided(text, ahead, factor)] : [];
}

function divided(text: string, constant: SyntaxNode, factor: number): Edit {
  const { from, to } = constant;
  const written = textOf(text, constant);
  const ms = durationMs(written);
  if (ms !== undefined && ms > 0) return { from, to, text: formatDuration(divideDuration(ms, factor)) };
  const seconds = Number(written) / factor;
  return { from, to, text: Number.isFinite(seconds) ? String(seconds) : `(${written}) / ${factor}` };
}

function isAge(text: string, node: SyntaxNode): boolean {
  return (
    some(node, ({ name }) => name === "Time") ||
    some(node, (inner) => inner.name === "VectorSelector" && ageSeries.has(metricOf(text, inner)))
  );
}

function metricOf(text: string, selector: SyntaxNode): string {
  const name = selector.getChild("Identifier");
  return name === null ? "" : textOf(text, name);
}

/** Whether an expression is made of numbers alone. */
function isConstant(node: SyntaxNode): boolean {
  const made = [
    "NumberDurationLiteral",
    "ParenExpr",
    "UnaryExpr",
    "UnaryOp",
    "BinaryExpr",
    "Mul",
    "Div",
    "Add",
    "Sub",
  ];
  return !some(node, ({ name }) => !made.includes(name));
}

function some(node: SyntaxNode, test: (node: SyntaxNode) => boolean): boolean {
  return test(node) || childrenOf(node).some((child) => some(child, test));
}
