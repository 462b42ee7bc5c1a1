// bagit.txt and bag-info.txt: what a bag says of itself to any BagIt program and to people (RFC 8493, sections 2.1.1
// and 2.2.2). What counts is in export.json.

/** A label and its value, in order; a label may come again. */
export type BagInfoElement = readonly [label: string, value: string];

export interface BagFacts {
  readonly exportId: string;
  readonly tenant: { readonly id: string; readonly name: string };
  /** When the bag was made. */
  readonly baggedAt: Date;
  /** RFC 3339; when the snapshot was taken that all of it is from. */
  readonly snapshotAt: string;
  readonly software: string;
  readonly payloadFiles: number;
  readonly payloadBytes: number;
}

/** The text of bagit.txt. */
export const bagDeclaration = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/** The text of bag-info.txt. */
export function renderBagInfo(facts: BagFacts): string {
  return renderElements([
    ["Source-Organization", facts.tenant.name],
    [
      "External-Description",
      `Everything that export.json lists, from one snapshot that was taken at ${facts.snapshotAt}`,
    ],
    ["External-Identifier", facts.exportId],
    ["Internal-Sender-Identifier", facts.tenant.id],
    ["Bagging-Date", facts.baggedAt.toISOString().slice(0, "2026-11-24".length)],
    ["Bag-Size", humanSize(facts.payloadBytes)],
    ["Payload-Oxum", `${facts.payloadBytes}.${facts.payloadFiles}`],
    ["Bag-Software-Agent", facts.software],
  ]);
}

// As the RFC recommends.
const mostOnLine = 79;

/** Elements as lines. What of a value cannot stand on a line becomes a space, and an empty value is left out. */
export function renderElements(elements: readonly BagInfoElement[]): string {
  return elements
    .map(([label, value]) => [label, oneLine(value)] as const)
    .filter(([, value]) => value !== "")
    .map(([label, value]) => `${fold(`${label}: ${value}`)}\n`)
    .join("");
}

/** Readers differ in what ends a line, so nothing stays that could end one, nor anything invisible. */
const oneLine = (value: string): string =>
  value
    .toWellFormed()
    .replace(/[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
    .trim();

/** Broken at spaces only, each further line indented: readers that keep the line end get white space for white space. */
function fold(line: string): string {
  // The first word of the value stays with the label.
  const [label = "", first = "", ...words] = line.split(" ");
  const lines: string[] = [];
  let current = `${label} ${first}`;
  for (const word of words) {
    if (current.length + 1 + word.length <= mostOnLine) current += ` ${word}`;
    else {
      lines.push(current);
      current = `  ${word}`;
    }
  }
  return [...lines, current].join("\n");
}

/** Reads a tag file of elements, as bagit.txt and bag-info.txt are. Gives what is wrong with each line that is none. */
export function parseElements(text: string): {
  readonly elements: readonly BagInfoElement[];
  readonly faults: readonly string[];
} {
  const elements: { readonly label: string; readonly lines: string[] }[] = [];
  const faults: string[] = [];
  for (const [index, line] of text.split(/\r\n|\n|\r/).entries()) {
    if (line.trim() === "") continue;
    const last = elements.at(-1);
    const [, label, value] = /^([^\s:][^:]*):(.*)$/s.exec(line) ?? [];
    if (/^[ \t]/.test(line) && last !== undefined) {
      last.lines.push(line);
    } else if (label !== undefined && value !== undefined) elements.push({ label, lines: [value] });
    else faults.push(`line ${index + 1} is not a label, a colon and a value`);
  }
  return { elements: elements.map(({ label, lines }) => [label.trim(), joined(lines)]), faults };
}

/** The value of an element from its lines, of which the first may be empty. */
const joined = (lines: readonly string[]): string =>
  lines
    .map((line) => line.trim())
    .join(" ")
    .trim();

const units = ["B", "KB", "MB", "GB", "TB"] as const;

/** As `1.5 GB`, by thousands. */
function humanSize(bytes: number): string {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return `${Number((bytes / 1_000 ** power).toPrecision(3))} ${units[power]}`;
}
