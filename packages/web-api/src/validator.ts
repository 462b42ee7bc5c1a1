// Compiles the schemas of routes into checks. JSON bodies have types and are taken as they are; query parameters are
// text, so that numbers among them are read first.
import { Ajv, type Options } from "ajv";
import ajvFormats from "ajv-formats";
import type { FastifySchemaCompiler } from "fastify";

const options: Options = { useDefaults: true, allErrors: false };

export function createValidatorCompiler(): FastifySchemaCompiler<object> {
  const typed = new Ajv({ ...options, coerceTypes: false });
  // "1e999" is read as Infinity. A strict check would take it for no number, and not compare it with the maximum.
  const textual = new Ajv({ ...options, coerceTypes: true, strictNumbers: false });
  for (const ajv of [typed, textual]) ajvFormats.default(ajv, ["date-time"]);
  return ({ schema, httpPart }) => (httpPart === "body" ? typed : textual).compile(schema);
}
