// Turns the first fault that a schema found into a message that says which field, what was got and what is accepted.
import { EctusError } from "@ectus/core";
import type { FastifyError, FastifySchemaValidationError } from "fastify";

export function validationFault(error: Pick<FastifyError, "validation" | "validationContext">): EctusError {
  const fault = (error.validation as FastifySchemaValidationError[])[0] as FastifySchemaValidationError;
  const path = fieldPath(fault);
  const where = error.validationContext === "querystring" ? "query parameter" : "field";
  const field = path === "" ? "The request body" : `The ${where} '${path}'`;
  return new EctusError("invalid_request", {
    ...(path === "" ? {} : { param: path }),
    reason: `${field} is not valid: ${explain(fault)}.`,
  });
}

// `/messages/0/role` is written as `messages[0].role`.
function fieldPath({ instancePath, keyword, params }: FastifySchemaValidationError): string {
  const parts = instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (keyword === "required") parts.push(String(params.missingProperty));
  if (keyword === "additionalProperties") parts.push(String(params.additionalProperty));
  return parts.reduce(
    (path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path === "" ? part : `${path}.${part}`),
    "",
  );
}

function explain({ keyword, params, message }: FastifySchemaValidationError): string {
  switch (keyword) {
    case "required":
      return "it is missing";
    case "additionalProperties":
      return "it is not known here";
    case "enum":
      return `accepted are ${(params.allowedValues as unknown[]).map((value) => JSON.stringify(value)).join(", ")}`;
    case "const":
      return `accepted is ${JSON.stringify(params.allowedValue)}`;
    case "anyOf":
      return "it has none of the forms that are accepted";
    default:
      return message ?? "it has the wrong form";
  }
}
