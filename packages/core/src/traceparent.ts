// The trace that a request belongs to, as its caller says: https://www.w3.org/TR/trace-context/#traceparent-header

/** Version, trace id, parent id, flags; a later version may have more after another dash. */
const pattern = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/;
const noTrace = "0".repeat(32);
const noParent = "0".repeat(16);

/** The trace id of a `traceparent` header that says that the trace is sampled; undefined for any other. */
export function sampledTraceId(header: string | readonly string[] | undefined): string | undefined {
  if (typeof header !== "string") return undefined;
  const [, version, traceId, parentId, flags, more] = pattern.exec(header) ?? [];
  if (traceId === undefined || version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (traceId === noTrace || parentId === noParent) return undefined;
  return (Number.parseInt(flags as string, 16) & 1) === 1 ? traceId : undefined;
}
