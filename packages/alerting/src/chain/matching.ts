// How the two sides of an operation match: by which labels, whether they can at all, and whether one sample of a side may
// match several of the other, to which Prometheus answers with an error.
import type { LabelRule } from "@ectus/monitoring";
import type { SyntaxNode } from "@lezer/common";
import { childrenOf, isExpression, readLabelNames, textOf } from "../promql.ts";
import { has, noSuchLabel, type Shape } from "./known-series.ts";
import { operationOf } from "./values.ts";

export interface Matching {
  readonly on?: readonly string[];
  readonly ignoring: readonly string[];
  /** The side of which many samples may match one. */
  readonly many?: "left" | "right";
  /** Labels that are taken over from the other side. */
  readonly included: readonly string[];
}

export function readMatching(node: SyntaxNode, text: string): Matching {
  const clause = node.getChild("MatchingModifierClause");
  if (clause === null) return { ignoring: [], included: [] };
  const [names = [], included = []] = clause
    .getChildren("GroupingLabels")
    .map((labels) => readLabelNames(text, labels));
  const many = clause.getChild("GroupLeft") ? "left" : clause.getChild("GroupRight") ? "right" : undefined;
  const on = clause.getChild("On") ? { on: names, ignoring: [] } : { ignoring: names };
  return { ...on, ...(many && { many }), included };
}

/** @param refuse takes what is wrong, and where */
export function checkMatching(
  node: SyntaxNode,
  text: string,
  matching: Matching,
  left: Shape,
  right: Shape,
  refuse: (offset: number, message: string) => void,
): void {
  const clause = node.getChild("MatchingModifierClause") ?? node;
  const one = matching.many === "right" ? left : right;
  for (const name of matching.included) {
    if (!has(one, name)) refuse(clause.from, noSuchLabel(`The side that ${name} is taken from`, name, one));
  }
  for (const name of matching.on ?? []) {
    if (!has(left, name)) refuse(clause.from, noSuchLabel("The left side", name, left));
    if (!has(right, name)) refuse(clause.from, noSuchLabel("The right side", name, right));
  }
  if (node.getChild("Or")) return;
  const apart = apartBy(matching, left, right);
  if (apart !== undefined) {
    refuse(node.from, `The two sides never match: ${apart}.`);
    return;
  }
  if (left.anyLabel || right.anyLabel) return;
  if (!matching.on && !matching.many) {
    const differing = new Set(left.labels.keys())
      .symmetricDifference(new Set(right.labels.keys()))
      .difference(new Set(matching.ignoring));
    if (differing.size > 0) {
      refuse(
        node.from,
        `The two sides never match, since only one of them has the label ${[...differing].join(", ")}. Say by which labels they match: "on (…)".`,
      );
      return;
    }
  }
  if (operationOf(node) === "set") return;
  const [leftNode, rightNode] = childrenOf(node).filter(isExpression);
  for (const [side, shape, operand] of [
    ["left", left, leftNode],
    ["right", right, rightNode],
  ] as const) {
    if (matching.many === side || (operand && isInfo(textOf(text, operand)))) continue;
    const more = apartFrom(matching, shape);
    if (more.length === 0) continue;
    const by = matching.on ? `by (${matching.on.join(", ")})` : `without (${matching.ignoring.join(", ")})`;
    refuse(
      clause.from,
      `Prometheus fails as soon as two samples of the ${side} side differ only in ${more.join(", ")}. Aggregate that side ${by}, or let many match one with group_${side}.`,
    );
  }
}

/** A label that the sides match by and that is never the same on both, and what it is. */
function apartBy({ on, ignoring }: Matching, left: Shape, right: Shape): string | undefined {
  const names = on ?? [...left.labels.keys()].filter((name) => !ignoring.includes(name));
  for (const name of names) {
    const [one, other] = [left, right].map(({ labels }) => valuesOf(labels.get(name)));
    if (one && other && one.length > 0 && other.length > 0 && !one.some((value) => other.includes(value)))
      return `${name} is ${one.join(" or ")} on the left and ${other.join(" or ")} on the right`;
  }
  return undefined;
}

function valuesOf(rule: LabelRule | undefined): readonly string[] | undefined {
  return rule !== undefined && "values" in rule ? rule.values : undefined;
}

/** Labels that tell samples of a side apart, but that the sides do not match by. */
function apartFrom({ on, ignoring }: Matching, { labels }: Shape): readonly string[] {
  const matched = on ?? [...labels.keys()].filter((name) => !ignoring.includes(name));
  const follow = new Set(matched.flatMap((name) => followsFrom[name] ?? []));
  return [...labels]
    .filter(([name, rule]) => !matched.includes(name) && !follow.has(name) && valuesOf(rule)?.length !== 1)
    .map(([name]) => name);
}

/** Labels that have one value for each value of another. */
const followsFrom: Readonly<Record<string, readonly string[]>> = {
  instance: ["node", "namespace", "pod", "container"],
  pod: ["uid", "node", "instance"],
};

/** A series of which a thing has one, that describes it by its labels, as ectus_build_info. */
function isInfo(operand: string): boolean {
  return /\b\w+_info\b/.test(operand);
}
