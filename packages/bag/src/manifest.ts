// Manifests of a bag: a line a file with its SHA-256 and its path (RFC 8493, section 2.1.3).
import { pathFault } from "./bag-path.ts";
import { printable } from "./printable.ts";
import type { BagFault } from "./verify.ts";

export interface ManifestEntry {
  /** In lower-case hexadecimal. */
  readonly sha256: string;
  /** Below the bag's folder, with slashes. */
  readonly path: string;
}

export interface ParsedManifest {
  readonly entries: readonly ManifestEntry[];
  readonly faults: readonly BagFault[];
}

const sha256Digits = 64;
// What is wrong with a file that is no manifest need not be told of each of its lines.
const mostFaults = 100;
// Nor read to its end, which might be far.
const mostFaultyLines = 1_000_000;

/** A line of a manifest, with its end. Two spaces, so that `sha256sum -c` reads it too. */
export function manifestLine({ sha256, path }: ManifestEntry): string {
  const fault = pathFault(path) ?? (path.trim() === path ? undefined : "begins or ends with white space");
  if (fault !== undefined) throw new RangeError(`The path ${JSON.stringify(path)} ${fault}.`);
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new RangeError(`${JSON.stringify(sha256)} is no SHA-256.`);
  return `${sha256}  ${encodePath(path)}\n`;
}

/** These three and no others are encoded. */
const encodePath = (path: string): string =>
  path.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");

/** Undefined if a percent sign stands for none of the three. */
function decodePath(path: string): string | undefined {
  if (/%(?!0[aAdD]|25)/.test(path)) return undefined;
  return path.replace(/%(0[aAdD]|25)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/**
 * Reads a manifest. Lines with a fault give no entry.
 *
 * @param manifest the file that it is, for its faults
 */
export function parseManifest(text: string, manifest = "manifest-sha256.txt"): ParsedManifest {
  const entries: ManifestEntry[] = [];
  const seen = new Set<string>();
  const faults: BagFault[] = [];
  const tell = (message: string): number => faults.push({ code: "manifest_line", path: manifest, message });
  let faulty = 0;
  let number = 0;
  for (const line of linesOf(text)) {
    number++;
    const read = parseLine(line);
    if (typeof read !== "string" && !seen.has(read.path)) {
      seen.add(read.path);
      entries.push(read);
      continue;
    }
    const fault = typeof read === "string" ? read : `${quoted(read.path)} is named twice`;
    if (faulty++ < mostFaults) tell(`Line ${number} of ${manifest}: ${fault}.`);
    if (faulty < mostFaultyLines) continue;
    tell(`Line ${number} of ${manifest} is the last that was read: too many have a fault.`);
    break;
  }
  if (faulty > mostFaults) tell(`${faulty - mostFaults} more lines of ${manifest} have a fault.`);
  return { entries, faults };
}

/** One by one: a list of them all could have more members than memory. */
function* linesOf(text: string): Generator<string, void, undefined> {
  // LF, CRLF and CR all end a line; the last one may lack its end.
  const lineEnd = /\r\n|\n|\r/g;
  let start = 0;
  for (let found = lineEnd.exec(text); found !== null; found = lineEnd.exec(text)) {
    yield text.slice(start, found.index);
    start = lineEnd.lastIndex;
  }
  if (start < text.length) yield text.slice(start);
}

/** The entry of a line, or what is wrong with it. */
function parseLine(line: string): ManifestEntry | string {
  if (line.startsWith("\ufeff")) return "it begins with a byte order mark";
  const [, digest, encoded] = /^(\S+)[ \t]+([^ \t].*)$/s.exec(line) ?? [];
  if (digest === undefined || encoded === undefined)
    return `${quoted(line)} is not a digest, white space and a path`;
  if (!/^[0-9a-fA-F]*$/.test(digest) || digest.length !== sha256Digits)
    return `${quoted(digest)} is no SHA-256 in ${sha256Digits} hexadecimal digits`;
  const path = decodePath(encoded);
  if (path === undefined) return `${quoted(encoded)} has a percent sign that is not one of %25, %0A and %0D`;
  const fault = pathFault(path);
  return fault === undefined ? { sha256: digest.toLowerCase(), path } : `the path ${quoted(path)} ${fault}`;
}

const quoted = (text: string): string => printable(JSON.stringify(text), 100);
