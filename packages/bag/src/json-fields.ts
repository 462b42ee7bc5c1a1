// Fields of JSON that somebody else wrote: each function gives the value in its type, or says which field is not of it.
import { printable } from "./printable.ts";

/** What is wrong, in words that go on from the name of the file. */
export class JsonFault extends Error {
  constructor(message: string) {
    super(message);
    this.name = "JsonFault";
  }
}

export type Fields = Readonly<Record<string, unknown>>;

/** Far more than any name or reason has. */
const mostCharacters = 100_000;

export function object(value: unknown, at: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw wrong(at, value, "an object");
}

export function list<T>(value: unknown, at: string, item: (value: unknown, at: string) => T): readonly T[] {
  if (!Array.isArray(value)) throw wrong(at, value, "a list");
  return value.map((one: unknown, index) => item(one, `${at}[${index}]`));
}

/** Any text that PostgreSQL can store. */
export function text(value: unknown, at: string): string {
  if (typeof value !== "string") throw wrong(at, value, "a text");
  if (value.length > mostCharacters) throw new JsonFault(`${at} has more than ${mostCharacters} characters`);
  if (value.includes("\0")) throw new JsonFault(`${at} has the character U+0000`);
  if (!value.isWellFormed()) throw new JsonFault(`${at} has half of a surrogate pair`);
  return value;
}

/** A name of a table or column, as they are here: it goes into statements and paths. */
export function identifier(value: unknown, at: string): string {
  return matching(value, at, /^[a-z_][a-z0-9_]{0,62}$/, "a name of a table or column");
}

export function flag(value: unknown, at: string): boolean {
  if (typeof value === "boolean") return value;
  throw wrong(at, value, "true or false");
}

export function count(value: unknown, at: string): number {
  // 1e400 is Infinity by now, and what is past 2^53 was rounded.
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw wrong(at, value, "a whole number from 0 to 9007199254740991");
}

export function oneOf<const T extends string>(value: unknown, accepted: readonly T[], at: string): T {
  const found = accepted.find((one) => one === value);
  if (found === undefined) throw wrong(at, value, accepted.join(" or "));
  return found;
}

export function uuid(value: unknown, at: string): string {
  return matching(value, at, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "a UUID in lower case");
}

export function hex(value: unknown, at: string, digits: 16 | 64): string {
  const pattern = digits === 16 ? /^[0-9a-f]{16}$/ : /^[0-9a-f]{64}$/;
  return matching(value, at, pattern, `${digits} hexadecimal digits in lower case`);
}

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/;

export function time(value: unknown, at: string): string {
  const found = matching(value, at, rfc3339, "a time as RFC 3339 has it");
  if (Number.isNaN(Date.parse(found))) throw wrong(at, value, "a time as RFC 3339 has it");
  return found;
}

function matching(value: unknown, at: string, pattern: RegExp, what: string): string {
  if (typeof value === "string" && pattern.test(value)) return value;
  throw wrong(at, value, what);
}

function wrong(at: string, value: unknown, what: string): JsonFault {
  return new JsonFault(`${at} is ${described(value)}, not ${what}`);
}

/** A value, short and on one line. */
function described(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  return printable(JSON.stringify(value), 60);
}
