// The time as text for log lines: made once a millisecond, its second once a second.

let millisecond = Number.NaN;
let second = Number.NaN;
let upToSecond = "";
let text = "";

/** Now in RFC 3339, UTC, with milliseconds: `2026-11-24T19:32:42.123Z`. */
export function isoTime(now: number = Date.now()): string {
  if (now === millisecond) return text;
  millisecond = now;
  const wholeSecond = Math.floor(now / 1_000);
  if (wholeSecond !== second) {
    second = wholeSecond;
    upToSecond = new Date(wholeSecond * 1_000).toISOString().slice(0, -4);
  }
  const rest = now - wholeSecond * 1_000;
  text = `${upToSecond}${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}Z`;
  return text;
}
