// Ids that sort by the order in which this process made them, each in a fraction of a microsecond: every request has one.
// Those of node:crypto are in no order within a millisecond, and lists are shown by id.
import { randomFillSync } from "node:crypto";

const digitsOfOne = 16;
// Random bytes are cheap in numbers.
const poolBytes = 512 * (digitsOfOne / 2);
const variants = ["8", "9", "a", "b"] as const;
const mostCount = 0xfff;
const threeDigits = Array.from({ length: mostCount + 1 }, (_, count) => count.toString(16).padStart(3, "0"));

/**
 * A new UUIDv7, greater than any that this process made before: also within a millisecond, and when the clock goes
 * backwards.
 */
export function newUuid(): string {
  const hex = newHexUuid();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The 32 hex digits of a new UUIDv7, in order with those of `newUuid`. */
export const newHexUuid: () => string = createHexUuids(Date.now);

/**
 * The twelve bits after the time begin at random in each millisecond, in the lower half of what they can be, and count
 * (RFC 9562, section 6.2, method 1); beyond them the time is ahead of the clock.
 *
 * @param clock milliseconds since 1970
 */
export function createHexUuids(clock: () => number): () => string {
  let ms = -1;
  let time = "";
  let count = 0;
  let random = "";
  let used = 0;

  function startMillisecond(at: number, from: number): void {
    ms = at;
    time = `${at.toString(16).padStart(12, "0")}7`;
    count = from;
  }

  return () => {
    if (used === random.length) {
      random = randomFillSync(Buffer.allocUnsafe(poolBytes)).toString("hex");
      used = 0;
    }
    const variant = variants[random.charCodeAt(used) & 3] as string;
    // Texts as short as these are copied; a longer one would keep the pool alive as long as the id.
    const low = random.slice(used + 1, used + 8);
    const lower = random.slice(used + 8, used + digitsOfOne);
    used += digitsOfOne;
    const now = clock();
    if (now > ms) startMillisecond(now, Number.parseInt(lower.slice(0, 3), 16) >> 1);
    else if (count === mostCount) startMillisecond(ms + 1, 0);
    else count += 1;
    return `${time}${threeDigits[count]}${variant}${low}${lower}`;
  };
}
