// Reads the contacts file: YAML, checked as a whole. Each finding has its place in the file, what is wrong there and
// what is accepted.
import { createReadStream } from "node:fs";
import { EctusError, errorMessage } from "@ectus/core";
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from "yaml";
import { contactsFaults, contactsWarnings } from "./contacts-checks.ts";
import { type Contacts, contactsSchema } from "./contacts-schema.ts";
import { type Fault, type Path, schemaFaults } from "./schema-faults.ts";

/** A contacts file that can be used; each warning is a line that begins with its place in the file. */
export interface CheckedContacts {
  readonly contacts: Contacts;
  readonly warnings: readonly string[];
}

/**
 * @param now decides what lies ahead, and is worth a warning
 * @throws EctusError `invalid_config` that lists every fault
 */
export async function readContacts(path: string, now: Temporal.Instant): Promise<CheckedContacts> {
  let text: string;
  try {
    text = await readText(path);
  } catch (error) {
    throw invalid([`${path}: cannot be read (${errorMessage(error)}), accepts a contacts file`]);
  }
  if (text.length > mostCharacters)
    throw invalid([`${path}: is larger than ${mostCharacters / 1_024} KiB, accepts a contacts file`]);
  return parseContacts(text, path, now);
}

/** Hundreds of people, and years of overrides. */
const mostCharacters = 256 * 1_024;

/** A file's text, or so much of it that it is known to be too large: a device has no end. */
async function readText(path: string): Promise<string> {
  let text = "";
  for await (const part of createReadStream(path, "utf8")) {
    text += part;
    if (text.length > mostCharacters) break;
  }
  return text;
}

/** The same for the text of a file; `name` is the file's name in messages. */
export function parseContacts(text: string, name: string, now: Temporal.Instant): CheckedContacts {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const placed = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  if (document.errors.length > 0)
    throw invalid(
      document.errors
        .slice(0, mostFaults)
        .map(({ message, pos }) => `${placed(pos[0])}: is not valid YAML: ${message}`),
    );
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    throw invalid([`${name}: is not valid YAML: ${errorMessage(error)}`]);
  }
  const told = (faults: readonly Fault[]): string[] =>
    faults
      .map((fault) => ({ fault, offset: offsetOf(document, fault.path) }))
      .sort((a, b) => a.offset - b.offset)
      .map(({ fault, offset }) => `${placed(offset)}: ${describe(fault)}`);

  const faults = schemaFaults(contactsSchema, value);
  if (faults.length > 0) throw invalid(told(faults.slice(0, mostFaults)));
  const contacts = value as Contacts;
  const contradictions = contactsFaults(contacts);
  if (contradictions.length > 0) throw invalid(told(contradictions.slice(0, mostFaults)));
  return { contacts, warnings: told(contactsWarnings(contacts, now)) };
}

/** Nobody reads more at once, and a file of another kind has thousands. */
const mostFaults = 50;

function invalid(faults: readonly string[]): EctusError {
  return new EctusError("invalid_config", { faults: faults.map((fault) => `  ${fault}`).join("\n") });
}

function describe({ path, problem, accepts }: Fault): string {
  const place = path.length === 0 ? "the file" : path.join(".");
  return `${place} ${problem}${accepts === undefined ? "" : `, accepts ${accepts}`}`;
}

/** Where the key or list item at `path` begins, or the nearest one around it. */
function offsetOf(document: Document, path: Path): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = document.getIn(path.slice(0, length - 1), true);
    const last = path[length - 1];
    const pair = isMap(parent)
      ? parent.items.find(({ key }) => isScalar(key) && key.value === last)
      : undefined;
    const node = pair?.key ?? document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}
