// Ids that sort by the order in which this process made them. Those of node:crypto are in no order within a
// millisecond, and lists are shown by id.
import { randomUUIDv7 } from "node:crypto";

let last = "";

/**
 * A new UUIDv7, greater than any that this process made before: also within a millisecond, and when the clock goes
 * backwards.
 */
export function newUuid(): string {
  last = uuidAfter(last, randomUUIDv7());
  return last;
}

/**
 * `made` if it comes after `last`, else one that does, with the random part of `made`: the twelve bits after the time
 * count (RFC 9562, section 6.2, method 1), and beyond them the time is ahead of the clock.
 */
export function uuidAfter(last: string, made: string): string {
  if (made > last) return made;
  const counter = Number.parseInt(last.slice(15, 18), 16) + 1;
  const random = made.slice(18);
  if (counter <= 0xfff) return `${last.slice(0, 15)}${counter.toString(16).padStart(3, "0")}${random}`;
  const time = (Number.parseInt(last.slice(0, 8) + last.slice(9, 13), 16) + 1).toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7000${random}`;
}
