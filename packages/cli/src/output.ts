// What commands print: one JSON object for programs, aligned columns for people.
import type { CommandContext } from "./command-context.ts";

/** Prints `object` as JSON if that was asked for, and the text for people otherwise. */
export function print(
  { stdout }: CommandContext,
  { json }: { readonly json?: boolean },
  object: Readonly<Record<string, unknown>>,
  text: () => string,
): void {
  stdout(json === true ? `${JSON.stringify(object, undefined, 2)}\n` : `${text()}\n`);
}

/** Rows in aligned columns under their titles. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles, ...rows].map((row) => row.map(printable));
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => widthOf(row[column] ?? ""))));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - widthOf(cell)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** The names and values of one thing, one a line. */
export function facts(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`).join("\n");
}

/** Text whose control characters cannot steer the terminal that shows it. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}

/** As a shell takes it for one word. */
export const quoted = (text: string): string => `'${printable(text).replaceAll("'", "'\\''")}'`;

const widthOf = (text: string): number => [...text].length;
