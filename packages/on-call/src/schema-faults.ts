// Finds everything in a parsed file that its schema does not accept, value by value, so that no fault hides another
// and each says what is accepted at its place.
import { IsArray, IsObject, IsOptional, IsRecord, type TSchema } from "typebox";
import { Check } from "typebox/value";

export type Path = readonly (string | number)[];

export interface Fault {
  readonly path: Path;
  /** What is wrong, as the rest of a sentence that begins with the place. */
  readonly problem: string;
  /** What would be right; undefined where `problem` says it. */
  readonly accepts?: string;
}

export function schemaFaults(schema: TSchema, value: unknown, path: Path = []): Fault[] {
  if (IsRecord(schema) && isMapping(value)) {
    const [entry = schema] = Object.values(schema.patternProperties);
    return Object.entries(value).flatMap(([key, one]) => schemaFaults(entry, one, [...path, key]));
  }
  if (IsObject(schema) && isMapping(value)) {
    const names = Object.keys(schema.properties);
    const unknown = Object.keys(value)
      .filter((key) => !names.includes(key))
      .map((key) => ({ path: [...path, key], problem: "is not known here", accepts: names.join(", ") }));
    const known = Object.entries(schema.properties).flatMap(([name, property]): Fault[] => {
      if (Object.hasOwn(value, name)) return schemaFaults(property, value[name], [...path, name]);
      if (IsOptional(property)) return [];
      return [{ path: [...path, name], problem: "is missing", accepts: acceptsOf(property) }];
    });
    return [...unknown, ...known];
  }
  if (IsArray(schema) && Array.isArray(value)) {
    const faults = value.flatMap((item, index) => schemaFaults(schema.items, item, [...path, index]));
    if (faults.length > 0) return faults;
  }
  return Check(schema, value) ? [] : [{ path, problem: `got ${shown(value)}`, accepts: acceptsOf(schema) }];
}

function acceptsOf(schema: TSchema): string {
  const { description, properties = {} } = schema as { description?: string; properties?: object };
  return description ?? `a mapping with ${Object.keys(properties).join(", ")}`;
}

const mostShown = 80;

function shown(value: unknown): string {
  if (value === null) return "nothing";
  if (isMapping(value)) return "a mapping";
  if (Array.isArray(value) && value.length > 0) return `a list of ${value.length}`;
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > mostShown ? `${text.slice(0, mostShown)}…` : text;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
