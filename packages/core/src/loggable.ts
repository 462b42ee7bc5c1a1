// Makes plain, bounded data of whatever is given to a log call: nothing in it can throw, run in a circle, or grow. What
// is named as a secret is hidden here; what looks like one is hidden in the finished line (redact.ts).
import { redacted, redactText } from "./redact.ts";

/** Without case, dashes and underscores. These are secrets alone, but not as the ends of other names. */
const secretNames: ReadonlySet<string> = new Set(["pwd", "token", "idtoken", "key"]);
/** Whatever stands before them: dbPassword, OPENAI_API_KEY, aws-secret-access-key. */
const secretEndings =
  /(?:authorization|password|passwd|passphrase|secret|cookie|credentials|(?:api|access|account|secret|private|signing|encryption)key|(?:access|refresh|auth|session|bearer|api)token)$/;

const mostDepth = 6;
const mostItems = 100;
const mostFields = 100;
const mostCauses = 5;
const mostErrors = 10;
const mostTextCharacters = 8_192;
const mostStackCharacters = 4_096;
const mostNameCharacters = 256;
// What a line may hold in all, and how many values are looked at.
const mostCharacters = 32_768;
const mostValues = 1_000;
// A secret that a cut goes through is seen as a whole before it.
const seenBehindCut = 1_024;

const unreadable = "[unreadable]";

interface Budget {
  characters: number;
  values: number;
  /** The objects that the value is in. */
  readonly path: object[];
}

type Plain = string | number | boolean | null | undefined | Plain[] | { [name: string]: Plain };

/** The fields of a line. */
export function toFields(given: object): Record<string, unknown> {
  const budget: Budget = { characters: mostCharacters, values: mostValues, path: [] };
  const described = describe(given, 0, budget);
  return typeof described === "object" && described !== null && !Array.isArray(described)
    ? described
    : { value: described };
}

/** One value, as an argument of a message's format. */
export function toLoggable(value: unknown): unknown {
  return describe(value, 0, { characters: mostCharacters, values: mostValues, path: [] });
}

/** A text of bounded length, with a note of what is missing. */
export function cutText(text: string, most = mostTextCharacters): string {
  if (text.length <= most) return text;
  const hidden = most === 0 ? "" : redactText(text.slice(0, most + seenBehindCut));
  // What was hidden is shorter than it was: then the end, where a secret may be cut in two, has come nearer.
  const shown = hidden.slice(0, Math.min(most, Math.max(0, hidden.length - seenBehindCut)));
  return `${shown}… [${text.length - shown.length} more characters]`;
}

function describe(value: unknown, depth: number, budget: Budget): Plain {
  switch (typeof value) {
    case "string":
      return takeText(value, mostTextCharacters, budget);
    case "number":
    case "boolean":
    case "undefined":
      return value;
    case "bigint":
      return takeText(describeBigInt(value), mostNameCharacters, budget);
    case "symbol":
      return takeText(String(value), mostNameCharacters, budget);
    case "function":
      return "[function]";
    case "object":
      return value === null ? null : describeObject(value, depth, budget);
  }
}

function describeBigInt(value: bigint): string {
  // As text it takes time that grows with the square of its size.
  return value > -(2n ** 256n) && value < 2n ** 256n ? `${value}` : "[bigint of more than 256 bits]";
}

function takeText(text: string, most: number, budget: Budget): string {
  const shown =
    text.length <= most && text.length <= budget.characters
      ? text
      : cutText(text, Math.max(0, Math.min(most, budget.characters)));
  budget.characters -= shown.length;
  return shown;
}

function describeObject(value: object, depth: number, budget: Budget): Plain {
  if (budget.path.includes(value)) return "[circular]";
  if (depth > mostDepth) return "[too deep]";
  if (budget.values <= 0 || budget.characters <= 0) return "[too much]";
  budget.values -= 1;
  budget.path.push(value);
  try {
    return describeByKind(value, depth, budget);
  } catch {
    // A proxy, a getter or a toJSON that throws.
    return unreadable;
  } finally {
    budget.path.pop();
  }
}

function describeByKind(value: object, depth: number, budget: Budget): Plain {
  if (Array.isArray(value)) return describeItems(value, value.length, depth, budget);
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === Object.prototype || prototype === null) return describePlain(value, depth, budget);
  if (value instanceof Error) return describeError(value, depth, budget);
  if (ArrayBuffer.isView(value)) return `[${nameOf(value, "bytes")} of ${value.byteLength} bytes]`;
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer)
    return `[buffer of ${value.byteLength} bytes]`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "[invalid date]" : value.toISOString();
  if (value instanceof Map) return describeMap(value, depth, budget);
  if (value instanceof Set) return describeItems(value, value.size, depth, budget);
  if (value instanceof RegExp) return takeText(String(value), mostTextCharacters, budget);
  if (value instanceof Number || value instanceof String || value instanceof Boolean)
    return describe(value.valueOf(), depth, budget);
  if (value instanceof Promise) return "[promise]";
  return describePlain(value, depth, budget);
}

function describePlain(value: object, depth: number, budget: Budget): Plain {
  const { toJSON } = value as { readonly toJSON?: unknown };
  if (typeof toJSON === "function") return describe(toJSON.call(value, ""), depth + 1, budget);
  const fields = value as Readonly<Record<string, unknown>>;
  const result: Record<string, Plain> = {};
  let count = 0;
  // Not by Object.keys of everything: of a large object most is not looked at. Names come from the object itself.
  for (const name in fields) {
    if (!Object.hasOwn(fields, name)) continue;
    if (count === mostFields || budget.values <= 0) {
      result["…"] = `[${Object.keys(fields).length - count} more fields]`;
      break;
    }
    count += 1;
    const kind = kindOfName(name);
    const value = kind === "secret" ? hidden(fields, name) : describeField(fields, name, depth, budget);
    set(result, depth === 0 && kind === "reserved" ? `${name}_` : name, value, budget);
  }
  return result;
}

function describeField(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  depth: number,
  budget: Budget,
): Plain {
  budget.values -= 1;
  try {
    return describe(fields[name], depth + 1, budget);
  } catch {
    return unreadable;
  }
}

function hidden(fields: Readonly<Record<string, unknown>>, name: string): Plain {
  try {
    return hide(fields[name]);
  } catch {
    return redacted;
  }
}

/** What is not there has nothing to hide, and yes or no is no secret. */
function hide(value: unknown): Plain {
  return value === undefined || value === null || typeof value === "boolean" ? value : redacted;
}

function set(result: Record<string, Plain>, name: string, value: Plain, budget: Budget): void {
  const shown = name.length > mostNameCharacters ? cutText(name, mostNameCharacters) : name;
  budget.characters -= shown.length;
  // Assigned, it would be the prototype.
  if (shown === "__proto__")
    Object.defineProperty(result, shown, { value, enumerable: true, configurable: true, writable: true });
  else result[shown] = value;
}

function describeMap(map: ReadonlyMap<unknown, unknown>, depth: number, budget: Budget): Plain {
  const result: Record<string, Plain> = {};
  let count = 0;
  for (const [key, value] of map) {
    if (count === mostFields || budget.values <= 0) {
      result["…"] = `[${map.size - count} more entries]`;
      break;
    }
    count += 1;
    budget.values -= 1;
    const name = typeof key === "object" && key !== null ? "[object]" : String(key);
    set(
      result,
      name,
      kindOfName(name) === "secret" ? hide(value) : describe(value, depth + 1, budget),
      budget,
    );
  }
  return result;
}

function describeItems(items: Iterable<unknown>, length: number, depth: number, budget: Budget): Plain {
  const result: Plain[] = [];
  // Headers are pairs in an array or one array of names and values.
  let isNamedSecret = false;
  for (const item of items) {
    if (result.length === mostItems || budget.values <= 0) {
      result.push(`[${length - result.length} more]`);
      break;
    }
    budget.values -= 1;
    const isText = typeof item === "string";
    result.push(isNamedSecret && isText ? redacted : describe(item, depth + 1, budget));
    isNamedSecret = !isNamedSecret && isText && kindOfName(item) === "secret";
  }
  return result;
}

const hiddenMessage = "[not shown: it may quote values]";
// SQLSTATE classes whose messages name tables, columns and constraints at most (PostgreSQL manual, appendix A). Those of
// data exceptions quote values ("invalid input syntax for type integer: \"Ada\""), and functions raise what they like.
const namingOnly = /^(?:08|0A|23|25|26|28|2B|3D|40|42|53|54|55|57|58)/;

/** Whether an error is PostgreSQL's and its message may have what somebody stored. */
function quotesValues(severity: unknown, code: unknown): boolean {
  return (
    typeof severity === "string" && typeof code === "string" && code.length === 5 && !namingOnly.test(code)
  );
}

/**
 * Type, message, stack and code, and those of its causes. Nothing else that an error carries, under whatever name it is
 * logged: a database's error quotes rows in its detail.
 */
function describeError(error: Error, depth: number, budget: Budget, causes = mostCauses): Plain {
  const read = (name: string): unknown => {
    try {
      return (error as unknown as Record<string, unknown>)[name];
    } catch {
      return unreadable;
    }
  };
  const described: Record<string, Plain> = { type: nameOf(error, read("name")) };
  const given = read("message");
  const code = read("code");
  const message = typeof given === "string" ? given : unreadable;
  const shown = quotesValues(read("severity"), code) ? hiddenMessage : message;
  described.message = takeText(shown, mostTextCharacters, budget);
  const stack = read("stack");
  if (typeof stack === "string")
    described.stack = takeText(
      stack.replace(message, () => shown),
      mostStackCharacters,
      budget,
    );
  if (typeof code === "string") described.code = takeText(code, mostNameCharacters, budget);
  else if (typeof code === "number") described.code = code;
  const inner = (value: unknown): Plain => {
    if (!(value instanceof Error))
      return typeof value === "string" ? takeText(value, mostTextCharacters, budget) : undefined;
    if (budget.path.includes(value)) return "[circular]";
    if (causes === 0 || budget.characters <= 0) return "[too deep]";
    budget.path.push(value);
    try {
      return describeError(value, depth + 1, budget, causes - 1);
    } finally {
      budget.path.pop();
    }
  };
  const cause = inner(read("cause"));
  if (cause !== undefined) described.cause = cause;
  const errors = read("errors");
  if (Array.isArray(errors) && error instanceof AggregateError)
    described.errors = errors.slice(0, mostErrors).map(inner);
  return described;
}

function nameOf(value: object, otherwise: unknown): string {
  let name: unknown;
  try {
    name = value.constructor.name;
  } catch {
    name = undefined;
  }
  if (typeof name === "string" && name !== "") return cutText(name, mostNameCharacters);
  return typeof otherwise === "string" ? cutText(otherwise, mostNameCharacters) : "Error";
}

/** A line has these itself. */
const ownNames: ReadonlySet<string> = new Set(["level", "time", "module"]);

type NameKind = "plain" | "secret" | "reserved";

// Names are few, and each is asked about in every line.
const mostKnownNames = 2_000;
const knownNames = new Map<string, NameKind>();

function kindOfName(name: string): NameKind {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  if (name.length > mostNameCharacters) return "plain";
  const kind = toKind(name);
  if (knownNames.size < mostKnownNames) knownNames.set(name, kind);
  return kind;
}

function toKind(name: string): NameKind {
  const plainName = name.replace(/[-_\s]/g, "").toLowerCase();
  if (secretNames.has(plainName) || secretEndings.test(plainName)) return "secret";
  // pino takes what every object inherits under such a name for a function of its own.
  return ownNames.has(name) || name in Object.prototype ? "reserved" : "plain";
}
