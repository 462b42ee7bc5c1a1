// A statement's text as it may be logged: without comments and without any literal, whether a string or a number, and
// with each list of values as one, so that statements that differ only in values have one fingerprint.
import { hash } from "node:crypto";

export interface StatementText {
  /** The same for statements that differ only in values. */
  readonly fingerprint: string;
  /** At most 1,000 characters. */
  readonly shown: string;
}

const mostShown = 1_000;
// What follows is neither read nor shown: reading takes up to 0.15 ms a thousand characters, in which nothing else runs.
const mostRead = 20_000;

export function describeStatement(text: string): StatementText {
  const plain = withoutValues(text.slice(0, mostRead));
  return {
    fingerprint: hash("sha256", plain, "hex").slice(0, 16),
    shown: plain.length > mostShown ? `${plain.slice(0, mostShown - 1)}…` : plain,
  };
}

type TokenKind = "space" | "comment" | "value" | "word";

// A string goes on after a line's end, with its escapes, though a comment stands between.
const goingOn = String.raw`'[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'`;

// PostgreSQL manual, section 4.1, "Lexical Structure", in the order in which they are tried. A literal that does not
// end reaches to the end of the text.
const tokens: readonly (readonly [kind: TokenKind, pattern: RegExp])[] = [
  ["space", /(?:[ \t\n\r\f\v]|--[^\n\r]*)+/y],
  ["comment", /\/\*/y],
  // A string with backslash escapes, and those without: plain or with a prefix.
  ["value", new RegExp(String.raw`[eE]'(?:[^'\\]|\\[\s\S]|''|${goingOn})*(?:'|\\?$)`, "y")],
  ["value", new RegExp(`(?:[bBxXnN]|[uU]&)?'(?:[^']|''|${goingOn})*(?:'|$)`, "y")],
  ["value", /\$((?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?)\$[\s\S]*?(?:\$\1\$|$)/y],
  ["word", /(?:[uU]&)?"(?:[^"]|"")*(?:"|$)/y],
  ["word", /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y],
  ["value", /\$\d+/y],
  // All that hangs together, so that nothing of a number is left: 1_000.5e-3, 0xFF.
  ["value", /\.?\d(?:[\w.\u0080-\uffff]|(?<=[eE])[+-])*/y],
  ["word", /[\s\S]/y],
];

/** The text with `?` for each value and `(…)` for each list of values. */
export function withoutValues(text: string): string {
  const parts: string[] = [];
  let position = 0;
  while (position < text.length) {
    const token = tokenAt(text, position);
    const end = token.kind === "comment" ? endOfComment(text, position) : token.end;
    if (token.kind === "value") parts.push("?");
    else if (token.kind === "word") parts.push(text.slice(position, end));
    else if (parts.at(-1) !== " ") parts.push(" ");
    position = end;
  }
  return parts.join("").trim().replace(valueLists, "(…)");
}

// Also the rows of an insert.
const valueLists =
  /\( ?(?:\?|default)(?: ?, ?(?:\?|default))* ?\)(?: ?, ?\( ?(?:\?|default)(?: ?, ?(?:\?|default))* ?\))*/gi;

function tokenAt(text: string, position: number): { readonly kind: TokenKind; readonly end: number } {
  for (const [kind, pattern] of tokens) {
    pattern.lastIndex = position;
    if (pattern.test(text)) return { kind, end: pattern.lastIndex };
  }
  return { kind: "word", end: text.length };
}

// Comments nest.
function endOfComment(text: string, start: number): number {
  const marks = /\/\*|\*\//g;
  marks.lastIndex = start;
  let depth = 0;
  for (let mark = marks.exec(text); mark !== null; mark = marks.exec(text)) {
    depth += mark[0] === "/*" ? 1 : -1;
    if (depth === 0) return marks.lastIndex;
  }
  return text.length;
}
