// PromQL, parsed by Prometheus's own grammar for editors: what an expression selects, over which windows, by which
// functions. Offsets are those in the expression's text, so that a part can be replaced there.
import { EctusError } from "@ectus/core";
import type { SyntaxNode, Tree } from "@lezer/common";
import { parser } from "@prometheus-io/lezer-promql";
import { durationMs } from "./duration.ts";

export type MatchOperator = "=" | "!=" | "=~" | "!~";

export interface Matcher {
  readonly label: string;
  readonly operator: MatchOperator;
  readonly value: string;
  /** What a regular expression has between its outermost bars; the value itself of others. */
  readonly alternatives: readonly string[];
  readonly from: number;
}

export interface Selector {
  /** Undefined where only labels are matched, as in {job="ectus"}. */
  readonly metric: string | undefined;
  readonly matchers: readonly Matcher[];
  readonly from: number;
  readonly to: number;
}

export interface Duration {
  readonly ms: number;
  readonly from: number;
  readonly to: number;
}

export interface Expression {
  readonly text: string;
  readonly tree: Tree;
  readonly selectors: readonly Selector[];
  /** Of ranges, subqueries and offsets. A sign is not part of it. */
  readonly durations: readonly Duration[];
  /** Names of the functions that are called. */
  readonly calls: readonly { readonly name: string; readonly from: number }[];
}

/** @throws EctusError invalid_expression, whose details have the `offset` and what is wrong there */
export function parseExpression(text: string): Expression {
  const tree = parser.parse(text);
  const selectors: Selector[] = [];
  const durations: Duration[] = [];
  const calls: { name: string; from: number }[] = [];
  tree.iterate({
    enter({ node }) {
      if (node.type.isError) throw syntaxError(text, node);
      if (node.name === "StringLiteral") stringValue(text, node);
      else if (node.name === "VectorSelector") selectors.push(readSelector(text, node));
      else if (node.name === "DurationExpr" || node.name === "OffsetDurationExpr") {
        durations.push(readDuration(text, node));
        return false;
      } else if (node.name === "FunctionIdentifier") {
        calls.push({ name: textOf(text, node), from: node.from });
      }
      return true;
    },
  });
  return { text, tree, selectors, durations, calls };
}

/** The part of `text` that a node is. */
export function textOf(text: string, node: SyntaxNode): string {
  return text.slice(node.from, node.to);
}

/** The nodes right below one, in their order. */
export function childrenOf(node: SyntaxNode): readonly SyntaxNode[] {
  const found: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) found.push(child);
  return found;
}

/** Whether a node is an expression, and not an operator, a modifier or a name. */
export function isExpression({ name }: SyntaxNode): boolean {
  return /Expr$|Selector$|Call$|Literal$/.test(name);
}

/** What a call or an aggregation is given. */
export function argumentsOf(node: SyntaxNode): readonly SyntaxNode[] {
  return childrenOf(node.getChild("FunctionCallBody") ?? node).filter(isExpression);
}

/** Whether a string can be a label's name without quotes. */
export function isLabelName(text: string): boolean {
  return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(text);
}

/** The selector that a VectorSelector node is. */
export function readSelector(text: string, node: SyntaxNode): Selector {
  let metric: string | undefined;
  const matchers: Matcher[] = [];
  for (const child of childrenOf(node)) {
    if (child.name === "Identifier") metric = textOf(text, child);
    for (const inner of child.name === "LabelMatchers" ? childrenOf(child) : []) {
      if (inner.name === "QuotedLabelName") metric = quotedName(text, inner);
      else if (inner.name.endsWith("LabelMatcher")) matchers.push(readMatcher(text, inner));
    }
  }
  const named = matchers.find(({ label, operator }) => label === "__name__" && operator === "=");
  return { metric: metric ?? named?.value, matchers, from: node.from, to: node.to };
}

/** The names in parentheses after by, without, on, ignoring, group_left or group_right. */
export function readLabelNames(text: string, grouping: SyntaxNode): readonly string[] {
  return childrenOf(grouping)
    .filter(({ name }) => name === "LabelName" || name === "QuotedLabelName")
    .map((label) => (label.name === "LabelName" ? textOf(text, label) : quotedName(text, label)));
}

/** What a StringLiteral stands for. */
export function stringValue(text: string, node: SyntaxNode): string {
  const literal = textOf(text, node);
  const quote = literal[0];
  if (literal.length < 2 || literal.at(-1) !== quote) {
    throw new EctusError("invalid_expression", { offset: node.from, reason: "this string is not closed" });
  }
  const inner = literal.slice(1, -1);
  if (quote === "`") return inner;
  return inner.replace(
    /\\(?:([abfnrtv\\'"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)/gs,
    (whole, letter?: string, hex?: string, octal?: string, u4?: string, u8?: string) => {
      if (letter !== undefined) return escapes[letter] ?? letter;
      const digits = hex ?? u4 ?? u8;
      if (digits !== undefined) return String.fromCodePoint(Number.parseInt(digits, 16));
      if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
      const reason = `${whole} stands for no character; a backslash itself is written as two`;
      throw new EctusError("invalid_expression", { offset: node.from, reason });
    },
  );
}

const escapes: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

function quotedName(text: string, node: SyntaxNode): string {
  const literal = node.firstChild;
  return literal === null ? "" : stringValue(text, literal);
}

function readMatcher(text: string, node: SyntaxNode): Matcher {
  const [name, operator, value] = childrenOf(node);
  if (name === undefined || operator === undefined || value === undefined) throw syntaxError(text, node);
  const read = {
    label: name.name === "LabelName" ? textOf(text, name) : quotedName(text, name),
    operator: textOf(text, operator) as MatchOperator,
    value: stringValue(text, value),
    from: node.from,
  };
  return { ...read, alternatives: read.operator.endsWith("~") ? alternativesOf(read.value) : [read.value] };
}

/** Splits a regular expression at the bars that are in no group and no class. */
export function alternativesOf(pattern: string): readonly string[] {
  const found: string[] = [];
  let depth = 0;
  let inClass = false;
  let start = 0;
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index];
    if (character === "\\") index++;
    else if (inClass) inClass = character !== "]";
    else if (character === "[") inClass = true;
    else if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "|" && depth === 0) {
      found.push(pattern.slice(start, index));
      start = index + 1;
    }
  }
  found.push(pattern.slice(start));
  return found;
}

function readDuration(text: string, node: SyntaxNode): Duration {
  const [first, second] = childrenOf(node);
  if (first?.name === "UnaryOp" && second !== undefined) return readDuration(text, second);
  const written = textOf(text, first ?? node);
  // A plain number is a count of seconds.
  const ms = durationMs(written) ?? Math.round(Number(written.replaceAll("_", "")) * 1000);
  if (first?.name !== "NumberDurationLiteralInDurationContext" || second !== undefined || !(ms < 2 ** 53)) {
    const reason = `${JSON.stringify(textOf(text, node))} is no plain duration; write one, as 5m or 1h30m (computed ones are an experiment of Prometheus)`;
    throw new EctusError("invalid_expression", { offset: node.from, reason });
  }
  return { ms, from: first.from, to: first.to };
}

function syntaxError(text: string, node: SyntaxNode): EctusError {
  const word = /^\s*([\w:]+|.)/s.exec(text.slice(node.from))?.[1];
  const called = word === "(" ? /([a-zA-Z_]\w*)\s*$/.exec(text.slice(0, node.from))?.[1] : undefined;
  const reason =
    called !== undefined
      ? `there is no function ${called}`
      : word === undefined
        ? "the expression ends too early"
        : `${JSON.stringify(word)} is not expected here`;
  const offset = called === undefined ? node.from : text.lastIndexOf(called, node.from);
  return new EctusError("invalid_expression", { offset, reason });
}
