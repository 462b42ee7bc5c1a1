// What a bench reports: rows and aims, as JSON in bench/results, as a table in the terminal, and in the Markdown files
// that have a place for it: <!-- bench:NAME --> … <!-- /bench -->.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Machine } from "./machine.ts";

export interface Report {
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
  readonly aims: readonly Aim[];
}

export type Row = Readonly<Record<string, string | number | null>>;

export interface Aim {
  readonly name: string;
  readonly value: number;
  readonly aim: number;
  readonly direction: "at-least" | "at-most";
  readonly met: boolean;
}

/** A table for people: the heads of its columns, then its lines. */
export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly lines: readonly (readonly string[])[];
}

export interface BenchContext {
  /** Shows what is being done. */
  readonly note: (line: string) => void;
  /** Aborted to give up between two measurements. */
  readonly signal: AbortSignal;
}

export interface Bench {
  readonly name: string;
  run(context: BenchContext): Promise<{ readonly report: Report; readonly tables: readonly Table[] }>;
}

const root = join(import.meta.dirname, "..");
const markPattern = /(<!-- bench:([\w-]+) -->)[\s\S]*?(<!-- \/bench -->)/g;

export function toAim(name: string, value: number, direction: Aim["direction"], aim: number): Aim {
  const met = direction === "at-least" ? value >= aim : value <= aim;
  return { name, value: round(value), aim: round(aim), direction, met };
}

/** Three significant digits, and whole numbers from 100 on. */
export function round(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

export async function writeResults(name: string, report: Report): Promise<string> {
  const folder = join(root, "bench/results");
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${name}.json`);
  await writeFile(path, `${JSON.stringify(report, undefined, 2)}\n`);
  return path;
}

export function aimsTable(aims: readonly Aim[]): Table {
  return {
    title: "Aims",
    head: ["aim", "measured", "asked", ""],
    lines: aims.map(({ name, value, aim, direction, met }) => [
      name,
      String(value),
      `${direction === "at-least" ? "at least" : "at most"} ${aim}`,
      met ? "met" : "NOT MET",
    ]),
  };
}

/** A table for a terminal. */
export function toText({ title, head, lines }: Table): string {
  const widths = head.map((text, column) =>
    Math.max(text.length, ...lines.map((line) => line[column]?.length ?? 0)),
  );
  const show = (line: readonly string[]): string =>
    line
      .map((text, column) =>
        column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0),
      )
      .join("  ");
  return `\n${title}\n\n${[head, ...lines].map(show).join("\n")}\n`;
}

function toMarkdown({ title, head, lines }: Table): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, column) => (column === 0 ? "---" : "--:"));
  return [`**${title}**`, "", row(head), row(rule), ...lines.map(row)].join("\n");
}

/** Puts tables into every Markdown file among `files` that has a place for this bench; returns which were changed. */
export async function rewriteDocs(
  name: string,
  tables: readonly Table[],
  machine: Machine,
  files: readonly string[],
): Promise<readonly string[]> {
  const about = `Measured by \`npm run bench -- ${name}\` on ${machine.cpu} (${machine.cores} cores), ${machine.os}, ${machine.date}.`;
  const content = [...tables.map(toMarkdown), about].join("\n\n");
  const changed: string[] = [];
  for (const file of files) {
    const path = join(root, file);
    const text = await readFile(path, "utf8");
    const rewritten = text.replace(markPattern, (whole, open: string, of: string, close: string) =>
      of === name ? `${open}\n\n${content}\n\n${close}` : whole,
    );
    if (rewritten === text) continue;
    await writeFile(path, rewritten);
    changed.push(file);
  }
  return changed;
}
