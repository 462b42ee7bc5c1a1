// Turns what a schema found into a message that says which field, what was got and what is accepted.
import { EctusError } from "@ectus/core";
import type { FastifyError, FastifySchemaValidationError } from "fastify";

type Fault = FastifySchemaValidationError;

export function validationFault(error: Pick<FastifyError, "validation" | "validationContext">): EctusError {
  const fault = tellingFault(error.validation as Fault[]);
  const path = fieldPath(fault);
  const where = error.validationContext === "querystring" ? "query parameter" : "field";
  const field = path === "" ? "The request body" : `The ${where} '${path}'`;
  return new EctusError("invalid_request", {
    ...(path === "" ? {} : { param: path }),
    reason: `${field} is not valid: ${explain(fault)}.`,
  });
}

/**
 * The fault that tells most. Of a union, the faults of all its members are there: the one that lies deepest belongs to
 * the member that was meant; where all are of the wrong type, the accepted types are put together.
 */
function tellingFault(faults: readonly Fault[]): Fault {
  const depth = ({ instancePath, keyword }: Fault): number =>
    instancePath.split("/").length + (keyword === "required" ? 1 : 0);
  const deepest = Math.max(...faults.map(depth));
  const candidates = faults.filter((fault) => depth(fault) === deepest && fault.keyword !== "anyOf");
  const [first = faults[0] as Fault] = candidates;
  const telling = candidates.find(({ keyword }) => keyword !== "type" && keyword !== "const");
  if (telling !== undefined) return telling;
  const together = (keyword: string, param: string) => [
    ...new Set(candidates.flatMap((fault) => (fault.keyword === keyword ? [fault.params[param]] : []))),
  ];
  const values = together("const", "allowedValue");
  if (values.length > 0) return { ...first, keyword: "enum", params: { allowedValues: values } };
  return { ...first, message: `must be ${together("type", "type").join(" or ")}` };
}

// `/messages/0/role` is written as `messages[0].role`.
function fieldPath({ instancePath, keyword, params }: Fault): string {
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

function explain({ keyword, params, message }: Fault): string {
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
      return `it ${message ?? "has the wrong form"}`;
  }
}
