// The trace that a request belongs to, as its caller says: https://www.w3.org/TR/trace-context/#traceparent-header

export interface Traceparent {
  /** 32 hex digits. */
  readonly traceId: string;
  /** The caller's span: 16 hex digits. */
  readonly parentId: string;
  /** Whether the caller keeps the trace. */
  readonly isSampled: boolean;
}

/** Version, trace id, parent id, flags; a later version may have more after another dash. */
const pattern = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/;
// A later version may have more; nobody needs this much.
const mostCharacters = 512;
const noTrace = "0".repeat(32);
const noParent = "0".repeat(16);

/** What a `traceparent` header says; undefined if it is none. */
export function parseTraceparent(header: string | readonly string[] | undefined): Traceparent | undefined {
  if (typeof header !== "string" || header.length > mostCharacters) return undefined;
  const [, version, traceId, parentId, flags, more] = pattern.exec(header) ?? [];
  if (traceId === undefined || parentId === undefined) return undefined;
  if (version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (traceId === noTrace || parentId === noParent) return undefined;
  return { traceId, parentId, isSampled: (Number.parseInt(flags as string, 16) & 1) === 1 };
}
