// Brings a JSON Schema of a request into the form that the grammar generator takes, and refuses by name what a grammar
// cannot enforce: an answer that looks checked and is not would be worse than a refusal.
import { EctusError } from "@ectus/core";
import type { GbnfJsonBasicSchema } from "node-llama-cpp";

type Schema = Readonly<Record<string, unknown>>;

// Say nothing about which values are valid.
const annotations = new Set([
  "$schema",
  "$id",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
]);
const scalarTypes = ["string", "number", "integer", "boolean", "null"];
const formats = ["date-time", "date", "time"];

// Bounds of what one request may ask llama.cpp to build; its own limit of repetitions is 2,000.
const mostSchemas = 500;
const deepest = 32;
const mostRepetitions = 1000;
// A grammar of 20,000 alternatives takes more than a second to build, and nothing else runs meanwhile.
const mostEnumValues = 1000;

/**
 * @param schema `response_format.json_schema.schema` of a request
 * @throws EctusError `invalid_request` that names the keyword and where it is
 */
export function toGrammarSchema(schema: unknown): GbnfJsonBasicSchema {
  const definitions = isSchema(schema) && isSchema(schema.$defs) ? schema.$defs : {};
  const converter = createConverter(new Set(Object.keys(definitions)));
  const converted = converter.convert(schema, "#", 0, true);
  const $defs = Object.fromEntries(
    Object.entries(definitions).map(([name, definition]) => [
      name,
      converter.convert(definition, `#/$defs/${name}`, 1, false),
    ]),
  );
  refuseEndlessReferences($defs);
  // The generator's own type is a union that cannot be built key by key; one member of it stands for all, and the
  // tests give every kind to the generator.
  return (Object.keys($defs).length === 0
    ? converted
    : { ...converted, $defs }) as unknown as GbnfJsonBasicSchema;
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function refuse(at: string, reason: string): never {
  throw new EctusError("invalid_request", {
    param: "response_format",
    reason: `response_format.json_schema.schema, at ${at}: ${reason}`,
  });
}

function createConverter(definitions: ReadonlySet<string>) {
  let count = 0;
  let enumValues = 0;

  function convert(schema: unknown, at: string, depth: number, root: boolean): Schema {
    count += 1;
    if (count > mostSchemas) refuse(at, `more than ${mostSchemas} subschemas are not supported.`);
    if (depth > deepest) refuse(at, `more than ${deepest} levels are not supported.`);
    if (!isSchema(schema)) refuse(at, "a schema must be an object; true and false are not supported.");
    const take = taker(schema, at, root);
    const converted = convertKind(schema, take, at, depth);
    take.refuseRest();
    return converted;
  }

  function convertKind(schema: Schema, take: Taker, at: string, depth: number): Schema {
    if (schema.$ref !== undefined) {
      const reference = take("$ref");
      const name = typeof reference === "string" ? /^#\/\$defs\/([^/]+)$/.exec(reference)?.[1] : undefined;
      if (name === undefined || !definitions.has(name)) {
        refuse(at, `$ref must name one of the schema's $defs, as in "#/$defs/name".`);
      }
      return { $ref: `#/$defs/${name}` };
    }
    // Of alternatives that overlap, a generator takes one, so oneOf and anyOf come to the same for it.
    for (const keyword of ["oneOf", "anyOf"] as const) {
      if (schema[keyword] === undefined) continue;
      const alternatives = list(take(keyword), `${at}/${keyword}`);
      return {
        oneOf: alternatives.map((item, i) => convert(item, `${at}/${keyword}/${i}`, depth + 1, false)),
      };
    }
    if (schema.const !== undefined) {
      take("type");
      return { const: scalar(take("const"), `${at}/const`) };
    }
    if (schema.enum !== undefined) {
      take("type");
      const values = list(take("enum"), `${at}/enum`);
      enumValues += values.length;
      if (enumValues > mostEnumValues)
        refuse(at, `more than ${mostEnumValues} enum values are not supported.`);
      return { enum: values.map((item, i) => scalar(item, `${at}/enum/${i}`)) };
    }
    const type = take("type");
    const types = Array.isArray(type) ? type : [type];
    if (types.length === 1) return convertType(types[0], take, at, depth);
    return { oneOf: list(type, `${at}/type`).map((one) => convertType(one, take, at, depth)) };
  }

  function convertType(type: unknown, take: Taker, at: string, depth: number): Schema {
    if (type === "object") return convertObject(take, at, depth);
    if (type === "array") return convertArray(take, at, depth);
    if (type === "string") return convertString(take, at);
    if (typeof type === "string" && scalarTypes.includes(type)) return { type };
    return refuse(
      at,
      type === undefined
        ? "a schema without type, enum, const, oneOf, anyOf or $ref is not supported."
        : `the type ${JSON.stringify(type)} is not supported.`,
    );
  }

  function convertObject(take: Taker, at: string, depth: number): Schema {
    const properties = take("properties") ?? {};
    if (!isSchema(properties)) refuse(`${at}/properties`, "must be an object.");
    // Every property is generated, in the order of the schema; that is valid whether or not it is required.
    const required = take("required") ?? [];
    const missing = Array.isArray(required)
      ? required.find((name) => typeof name !== "string" || !Object.hasOwn(properties, name))
      : required;
    if (missing !== undefined) {
      refuse(`${at}/required`, `${JSON.stringify(missing)} is not one of the properties.`);
    }
    const additional = take("additionalProperties");
    // Absent or true: more properties are allowed, not wanted. A schema for them is wanted if no others are named.
    const wantsMore = isSchema(additional) && Object.keys(properties).length === 0;
    return {
      type: "object",
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, property]) => [
          name,
          convert(property, `${at}/properties/${name}`, depth + 1, false),
        ]),
      ),
      ...(wantsMore && {
        additionalProperties: convert(additional, `${at}/additionalProperties`, depth + 1, false),
      }),
    };
  }

  function convertArray(take: Taker, at: string, depth: number): Schema {
    const items = take("items");
    if (items === undefined) refuse(at, "an array without items is not supported.");
    return {
      type: "array",
      items: convert(items, `${at}/items`, depth + 1, false),
      ...repetitions(take, at, "minItems", "maxItems"),
    };
  }

  function convertString(take: Taker, at: string): Schema {
    const format = take("format");
    if (format === undefined) return { type: "string", ...repetitions(take, at, "minLength", "maxLength") };
    if (!formats.some((known) => known === format)) {
      refuse(at, `the format ${JSON.stringify(format)} is not supported; ${formats.join(", ")} are.`);
    }
    return { type: "string", format };
  }

  return { convert };
}

/** Reads keywords of one schema and remembers which were read. */
interface Taker {
  (keyword: string): unknown;
  refuseRest(): void;
}

function taker(schema: Schema, at: string, root: boolean): Taker {
  const taken = new Set<string>(root ? ["$defs"] : []);
  const take = (keyword: string) => {
    taken.add(keyword);
    return schema[keyword];
  };
  return Object.assign(take, {
    refuseRest() {
      for (const keyword of Object.keys(schema)) {
        if (!taken.has(keyword) && !annotations.has(keyword)) {
          refuse(at, `the keyword '${keyword}' is not supported by the built-in model.`);
        }
      }
    },
  });
}

function repetitions(take: Taker, at: string, least: string, most: string): Schema {
  const bound = (keyword: string) => {
    const value = take(keyword);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > mostRepetitions) {
      return refuse(at, `${keyword} must be a whole number from 0 to ${mostRepetitions}.`);
    }
    return value;
  };
  const [from, to] = [bound(least), bound(most)];
  if (from !== undefined && to !== undefined && from > to) refuse(at, `${least} is larger than ${most}.`);
  return { ...(from !== undefined && { [least]: from }), ...(to !== undefined && { [most]: to }) };
}

function list(value: unknown, at: string): readonly unknown[] {
  return Array.isArray(value) && value.length > 0 ? value : refuse(at, "must be a list that is not empty.");
}

function scalar(value: unknown, at: string): unknown {
  const isScalar = value === null || ["string", "number", "boolean"].includes(typeof value);
  return isScalar ? value : refuse(at, "only strings, numbers, booleans and null are supported here.");
}

/** Definitions that refer to each other with nothing between them describe no value, and hang a generator. */
function refuseEndlessReferences(definitions: Readonly<Record<string, Schema>>): void {
  const directReferences = (schema: Schema | undefined): string[] => {
    if (schema === undefined) return [];
    if (typeof schema.$ref === "string") return [schema.$ref.slice("#/$defs/".length)];
    return Array.isArray(schema.oneOf) ? schema.oneOf.flatMap(directReferences) : [];
  };
  for (const start of Object.keys(definitions)) {
    const seen = new Set<string>();
    const pending = directReferences(definitions[start]);
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === start) refuse(`#/$defs/${start}`, "the definition refers to itself without end.");
      if (seen.has(name)) continue;
      seen.add(name);
      pending.push(...directReferences(definitions[name]));
    }
  }
}
