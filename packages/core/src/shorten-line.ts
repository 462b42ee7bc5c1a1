// The longest line that is written. Values are cut where they are logged; this is for what is still too much together,
// as texts of characters that take six bytes each in JSON.
import { cutText } from "./loggable.ts";

const mostBytes = 65_536;
const mostFieldBytes = 2_048;
// Every character takes four bytes at most.
const surelyShort = mostBytes / 4;

/** The line, or one with its first fields and what is short of the others. */
export function shortenLine(line: string): string {
  if (line.length <= surelyShort || Buffer.byteLength(line) <= mostBytes) return line;
  const kept: Record<string, unknown> = Object.create(null);
  let bytes = 0;
  let cutFields = 0;
  for (const [name, value] of Object.entries(JSON.parse(line) as object)) {
    const size = Buffer.byteLength(JSON.stringify(name) + JSON.stringify(value));
    if (size <= mostFieldBytes && bytes + size < mostBytes / 2) {
      kept[name] = value;
      bytes += size;
    } else {
      cutFields += 1;
      if (name === "msg") kept.msg = cutText(String(value), mostFieldBytes / 8);
    }
  }
  return `${JSON.stringify({ ...kept, cutFields })}\n`;
}
