// Values of options and arguments: what is accepted, and the message for what is not.
import { InvalidArgumentError } from "commander";

const longestName = 200;
const mostPerMinute = 2_147_483_647;

/** A name of a tenant or a key. */
export function parseName(text: string): string {
  if (text.includes("\0"))
    throw new InvalidArgumentError(
      "It contains the character U+0000, which cannot be stored. Accepts text without it.",
    );
  const { length } = [...text];
  if (length < 1 || length > longestName || text.trim() === "")
    throw new InvalidArgumentError(`Accepts 1 to ${longestName} characters, not only spaces.`);
  return text;
}

/** A limit as it is given; commander would take a null for an empty text. */
export type Limit = number | "none";

/** A limit per minute, or none. */
export function parsePerMinute(text: string): Limit {
  return text === "none" ? text : wholeNumber(text, 1, mostPerMinute, ", or none");
}

/** A budget of tokens a month, or none. */
export function parseBudget(text: string): Limit {
  return text === "none" ? text : wholeNumber(text, 0, Number.MAX_SAFE_INTEGER, ", or none");
}

/** A limit as it is stored. */
export const toStored = (limit: Limit): number | null => (limit === "none" ? null : limit);

/** Rows of a list. */
export function parsePageSize(text: string): number {
  return wholeNumber(text, 1, 10_000);
}

const unitMs = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const timePattern = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/;

/** A time to come: RFC 3339, a date (its begin in UTC), or how long from now. */
export function parseExpiry(text: string, now: () => number = Date.now): Date {
  const length = /^(\d{1,6})([mhd])$/.exec(text);
  const time =
    length !== null
      ? new Date(now() + Number(length[1]) * unitMs[length[2] as keyof typeof unitMs])
      : new Date(timePattern.test(text) ? text : Number.NaN);
  if (Number.isNaN(time.getTime()))
    throw new InvalidArgumentError(
      "Accepts a time like 2027-01-31 or 2027-01-31T12:00:00Z, or a length like 90d, 12h or 30m.",
    );
  if (time.getTime() <= now()) throw new InvalidArgumentError("That is in the past. Accepts a time to come.");
  return time;
}

/** A time in RFC 3339; a date is its begin in UTC. */
export function parseTime(text: string): string {
  if (!timePattern.test(text) || Number.isNaN(new Date(text).getTime()))
    throw new InvalidArgumentError("Accepts a time like 2027-01-31 or 2027-01-31T12:00:00Z.");
  return text.includes("T") ? text : `${text}T00:00:00Z`;
}

function wholeNumber(text: string, least: number, most: number, also = ""): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new InvalidArgumentError(`Accepts a whole number from ${least} to ${most}${also}.`);
  return value;
}
