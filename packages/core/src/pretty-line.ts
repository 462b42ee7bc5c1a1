// A log line for people: time, level, module, message, fields, and the ids short.
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

const styles: Readonly<Record<string, Style>> = {
  trace: "gray",
  debug: "gray",
  info: "green",
  warn: "yellow",
  error: "red",
  fatal: ["white", "bgRed"],
};
const shownCharacters = 8;

/** Makes a function that turns lines of JSON into text for `stream`; in color if it is a terminal that has them. */
export function createPrettyPrinter(stream?: NodeJS.WriteStream): (line: string) => string {
  const paint = (style: Style, text: string): string =>
    stream === undefined ? text : styleText(style, text, { stream });
  return (line) => {
    const { level, time, module, msg, correlationId, requestId, traceId, spanId, tenantId, err, ...fields } =
      JSON.parse(line) as Record<string, unknown>;
    const levelText = String(level).toUpperCase().padEnd(5);
    const parts = [
      paint("gray", printable(String(time).slice(11, -1))),
      paint(styles[String(level)] ?? "green", printable(levelText)),
      paint("cyan", printable(String(module ?? ""))),
      printable(String(msg ?? "")),
    ];
    for (const [name, value] of Object.entries(fields))
      parts.push(`${paint("gray", `${printable(name)}=`)}${printable(show(value))}`);
    const ids = [
      ...shortId("request", requestId),
      ...(sameId(correlationId, requestId) ? [] : [["correlation", String(correlationId)] as const]),
      ...(sameId(traceId, requestId) ? [] : shortId("trace", traceId)),
      ...shortId("span", spanId),
      ...shortId("tenant", tenantId),
    ];
    for (const [name, id] of ids) parts.push(paint("gray", `${name}=${printable(id)}`));
    return `${parts.filter((part) => part !== "").join(" ")}\n${errorLines(err)}`;
  };
}

/** Request, trace and correlation id are one, unless the caller had one. */
function sameId(id: unknown, requestId: unknown): boolean {
  return id === undefined || `req_${id}` === requestId || id === requestId;
}

/** Ids begin with the time; their ends tell them apart. */
function shortId(name: string, id: unknown): readonly (readonly [string, string])[] {
  return id === undefined ? [] : [[name, `…${String(id).slice(-shownCharacters)}`]];
}

const show = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

function errorLines(err: unknown): string {
  if (err === undefined) return "";
  const { stack, type, message, code, cause } = (
    typeof err === "object" && err !== null ? err : { message: err }
  ) as Readonly<Record<string, unknown>>;
  const told =
    typeof stack === "string" ? stack : `${type === undefined ? "" : `${type}: `}${message ?? show(err)}`;
  const lines = told.split("\n").map((line) => `    ${printable(line)}\n`);
  if (code !== undefined) lines.push(`    code: ${printable(String(code))}\n`);
  if (cause !== undefined) lines.push("    caused by:\n", errorLines(cause));
  return lines.join("");
}

/** Text whose control characters cannot steer the terminal that shows it. */
function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}
