// Which bytes of an answer a client gets, from the headers of its request: RFC 9110, sections 13 and 14. One range is
// answered; where several or something else is asked for, the whole is, as section 14.2 allows.
import type { IncomingHttpHeaders } from "node:http";

export interface Representation {
  readonly bytes: number;
  /** A strong one, with its quotes. */
  readonly etag: string;
  readonly modifiedAt: Date;
}

export type Selection =
  | {
      readonly status: 200 | 206;
      /** Both ends count from 0 and belong to it; of no bytes at all the end is -1. */
      readonly start: number;
      readonly end: number;
    }
  | { readonly status: 304 }
  | { readonly status: 416 };

/** What to answer to a GET or HEAD with these headers. */
export function selectBytes(
  method: string,
  headers: IncomingHttpHeaders,
  representation: Representation,
): Selection {
  const { bytes, etag } = representation;
  const ifNoneMatch = headers["if-none-match"];
  if (ifNoneMatch !== undefined && namesTag(ifNoneMatch, etag)) return { status: 304 };
  const whole = { status: 200, start: 0, end: bytes - 1 } as const;
  // A range is defined for GET alone (section 14.2).
  if (method !== "GET" || headers.range === undefined) return whole;
  if (!isStill(headers["if-range"], representation)) return whole;
  const range = readRange(headers.range, bytes);
  if (range === "none") return whole;
  return range === "unsatisfiable" ? { status: 416 } : { status: 206, ...range };
}

export const lastModified = ({ modifiedAt }: Pick<Representation, "modifiedAt">): string =>
  modifiedAt.toUTCString();

/** The weak comparison, which this header asks for (section 13.1.2). */
function namesTag(header: string, etag: string): boolean {
  if (header.trim() === "*") return true;
  return [...header.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, tag]) => tag === etag);
}

/** The strong comparison; of a date, that it is the very same (section 13.1.5). Node.js joins what is sent twice. */
function isStill(header: string | string[] | undefined, representation: Representation): boolean {
  return header === undefined || header === representation.etag || header === lastModified(representation);
}

// The unit is read as in section 14.1, whatever its case.
const oneRange = /^bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*$/i;

function readRange(
  header: string,
  bytes: number,
): "none" | "unsatisfiable" | { readonly start: number; readonly end: number } {
  const [match, first, last, suffix] = oneRange.exec(header) ?? [];
  if (match === undefined) return "none";
  if (suffix !== undefined) {
    if (Number(suffix) === 0) return "unsatisfiable";
    // Of nothing, its last bytes are the whole; no Content-Range could say so.
    return bytes === 0 ? "none" : { start: Math.max(bytes - Number(suffix), 0), end: bytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? Number.POSITIVE_INFINITY : Number(last);
  // Infinity is what a number of hundreds of digits becomes.
  if (end < start) return "none";
  return start >= bytes ? "unsatisfiable" : { start, end: Math.min(end, bytes - 1) };
}
