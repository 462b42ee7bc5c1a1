// What PostgreSQL cannot store in a text or in JSON: U+0000 and halves of surrogate pairs. What a client sends to be
// stored is refused; what a model wrote is replaced.
import { EctusError } from "@ectus/core";

const nul = "\u0000";
const replacement = "\ufffd";

/**
 * Refuses a value that holds such a character in any text or field name.
 *
 * @param param name of the value in the request; of the whole body, none
 * @throws EctusError `invalid_text`
 */
export function refuseUnstorable(value: unknown, param = ""): void {
  const found = findUnstorable(value, param);
  if (found !== undefined) throw new EctusError("invalid_text", found);
}

type Unstorable = { readonly param?: string; readonly character: string };

function findUnstorable(value: unknown, path: string): Unstorable | undefined {
  if (typeof value === "string") {
    const character = unstorableIn(value);
    return character === undefined ? undefined : { param: path, character };
  }
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, member] of Object.entries(value)) {
    const character = unstorableIn(key);
    // The name itself is not repeated: it is what cannot be written.
    if (character !== undefined) return path === "" ? { character } : { param: path, character };
    const name = Array.isArray(value) ? `[${key}]` : path === "" ? key : `.${key}`;
    const found = findUnstorable(member, path + name);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unstorableIn(text: string): string | undefined {
  if (text.includes(nul)) return "the character U+0000";
  return text.isWellFormed() ? undefined : "half of a surrogate pair";
}

/** The value with U+FFFD for each such character, and whether there was one. */
export function replaceUnstorable<T>(value: T): { readonly value: T; readonly replaced: boolean } {
  // JSON.stringify escapes both (ECMA-262, QuoteJSONString), so one search tells whether a closer look is needed.
  if (!/\\u(0000|d[89a-f])/.test(JSON.stringify(value))) return { value, replaced: false };
  let replaced = false;
  const clean = (text: string): string => {
    if (unstorableIn(text) === undefined) return text;
    replaced = true;
    return text.replaceAll(nul, replacement).toWellFormed();
  };
  return { value: mapTexts(value, clean) as T, replaced };
}

function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [change(key), mapTexts(member, change)]),
  );
}
