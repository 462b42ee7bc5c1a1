// What a span says of an error, as the attribute `error.type` of the semantic conventions.
import { EctusError } from "@ectus/core";
import { ERROR_TYPE_VALUE_OTHER } from "@opentelemetry/semantic-conventions";

// Of Node.js, the system or PostgreSQL.
const sane = /^[A-Za-z0-9_]{1,64}$/;

/** The code of an error, or else the name of its class. Never its message, which may hold what users wrote. */
export function errorTypeOf(error: unknown): string {
  if (error instanceof EctusError) return error.code;
  if (!(error instanceof Error)) return ERROR_TYPE_VALUE_OTHER;
  const { code } = error as { readonly code?: unknown };
  const type = typeof code === "string" ? code : error.constructor.name;
  return sane.test(type) ? type : ERROR_TYPE_VALUE_OTHER;
}
