// PostgreSQL cannot store U+0000. What a client sends to be stored is refused; what a model wrote is replaced.
import { EctusError } from "@ectus/core";

const nul = "\u0000";

/**
 * Refuses a value that holds U+0000 in any text or field name.
 *
 * @param param name of the value in the request
 * @throws EctusError `invalid_text`
 */
export function refuseNul(value: unknown, param: string): void {
  const path = findNul(value, param);
  if (path !== undefined) throw new EctusError("invalid_text", { param: path });
}

function findNul(value: unknown, path: string): string | undefined {
  if (typeof value === "string") return value.includes(nul) ? path : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, member] of Object.entries(value)) {
    if (key.includes(nul)) return path;
    const found = findNul(member, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The value with U+FFFD for each U+0000, and whether there was one. */
export function replaceNul<T>(value: T): { readonly value: T; readonly replaced: boolean } {
  const text = JSON.stringify(value);
  // In JSON, U+0000 can only stand as this escape; an even number of backslashes before it makes it plain text.
  const clean = text.replace(/((?:^|[^\\])(?:\\\\)*)\\u0000/g, "$1\\ufffd");
  if (clean === text) return { value, replaced: false };
  const again = replaceNul(JSON.parse(clean) as T);
  return { value: again.value, replaced: true };
}
