// Where things are in a YAML file, so that a fault can say line and column, and a text be replaced in place.
import { isScalar, LineCounter, type Node, parseDocument, type Scalar } from "yaml";

export interface Position {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

/** What is wrong in a file, and what to do about it. */
export interface Fault {
  /** Relative to the project's root, with slashes. */
  readonly path: string;
  readonly line: number;
  /** Left out where the fault is of the whole line or file. */
  readonly column?: number;
  readonly message: string;
}

/** A text in a file. */
export interface Located {
  readonly value: string;
  readonly at: Position;
  /** Offset in the file of the text's character number `offset`; undefined where lines were folded or escapes resolved. */
  readonly sourceOffset: (offset: number) => number | undefined;
  /** The whole node in the file, quotes or block header included. */
  readonly range: readonly [from: number, to: number];
  /** Whether it is written as a block, below a "|" or ">"; then its range ends after its last line break. */
  readonly block: boolean;
}

export interface YamlFile {
  readonly path: string;
  readonly text: string;
  readonly root: Node | null;
  readonly positionOf: (offset: number) => Position;
  readonly faultAt: (offset: number, message: string) => Fault;
  readonly locate: (node: Scalar) => Located;
}

/** Reads YAML; its syntax errors are faults. */
export function parseYaml(
  path: string,
  text: string,
): { readonly file: YamlFile; readonly faults: readonly Fault[] } {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false });
  const positionOf = (offset: number): Position => {
    const { line, col } = counter.linePos(offset);
    return { line, column: col };
  };
  const faultAt = (offset: number, message: string): Fault => ({ path, ...positionOf(offset), message });
  const file: YamlFile = {
    path,
    text,
    root: document.contents,
    positionOf,
    faultAt,
    locate: (node) => locate(node, text, positionOf),
  };
  // The first one only: those after it follow from it.
  const [problem] = [...document.errors, ...document.warnings];
  const faults = problem ? [faultAt(problem.pos[0], `This is no valid YAML: ${problem.message}.`)] : [];
  return { file, faults };
}

/** "path:line:column: message", as compilers print it and editors open it. */
export function formatFault({ path, line, column, message }: Fault): string {
  return `${path}:${line}${column === undefined ? "" : `:${column}`}: ${message}`;
}

/** The fault at a character of a text of the file; at the text's beginning where that cannot be said. */
export function faultIn(file: YamlFile, text: Located, offset: number, message: string): Fault {
  return file.faultAt(text.sourceOffset(offset) ?? text.range[0], message);
}

function locate(node: Scalar, text: string, positionOf: (offset: number) => Position): Located {
  const [from, to] = node.range ?? [0, 0];
  const value = scalarText(node);
  const block = node.type === "BLOCK_LITERAL" || node.type === "BLOCK_FOLDED";
  const sourceOffset = sourceOffsets(node, value, text, from, to);
  return { value, at: positionOf(from), range: [from, to], block, sourceOffset };
}

/** A scalar as Prometheus takes it: numbers and booleans stand for their own text. */
function scalarText(node: Scalar): string {
  return typeof node.value === "string" ? node.value : (node.source ?? String(node.value ?? ""));
}

function sourceOffsets(
  node: Scalar,
  value: string,
  text: string,
  from: number,
  to: number,
): Located["sourceOffset"] {
  if (node.type === "BLOCK_LITERAL") return blockOffsets(value, text, from, to);
  const start = node.type === "PLAIN" ? from : from + 1;
  if (!text.startsWith(value, start)) return () => undefined;
  return (offset) => start + offset;
}

/** Of a literal block: each of its lines is one of the text's, behind the indentation. */
function blockOffsets(value: string, text: string, from: number, to: number): Located["sourceOffset"] {
  const starts: { readonly value: number; readonly source: number }[] = [];
  let source = text.indexOf("\n", from) + 1;
  const indent = /^(?:[ ]*\n)*([ ]*)/.exec(text.slice(source, to))?.[1]?.length ?? 0;
  let valueStart = 0;
  for (const line of value.split("\n")) {
    const lineStart = source + (text[source] === "\n" ? 0 : indent);
    if (!text.startsWith(line, lineStart)) return () => undefined;
    starts.push({ value: valueStart, source: lineStart });
    valueStart += line.length + 1;
    source = lineStart + line.length + 1;
  }
  return (offset) => {
    const line = starts.findLast((start) => start.value <= offset);
    return line === undefined ? undefined : line.source + offset - line.value;
  };
}

/** Whether a node is a scalar that stands for a text. */
export function isText(node: unknown): node is Scalar {
  return isScalar(node) && (node.value === null ? node.source !== "" && node.source !== undefined : true);
}
