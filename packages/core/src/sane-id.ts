// What a caller may call its work: an id in a header, an environment or a job's data.
import { isSensitive } from "./redact.ts";

// Long enough for what tracing systems use, and nothing that could break a log line or a header.
const pattern = /^[A-Za-z0-9._:/+=@-]{1,128}$/;

/** Whether it is an id of sane form and length and nothing sensitive, so that it may be logged and passed on. */
export function isSaneId(value: unknown): value is string {
  return typeof value === "string" && pattern.test(value) && !isSensitive(value);
}
