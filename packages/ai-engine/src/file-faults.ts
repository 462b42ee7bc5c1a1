// Finds everything in a parsed file that its schema does not accept, value by value, so that no fault hides another
// and each says what is accepted at its place.
import {
  IsArray,
  IsObject,
  IsOptional,
  IsRecord,
  type TArray,
  type TObject,
  type TRecord,
  type TSchema,
} from "typebox";
import { Check } from "typebox/value";

export type Path = readonly (string | number)[];

export interface Fault {
  readonly path: Path;
  /** What is wrong in words, if it is not the value. */
  readonly problem?: string;
  readonly accepts: string;
}

/** All faults of `value`, in the order of the schema. */
export function findFaults(schema: TSchema, value: unknown, path: Path = []): Fault[] {
  if (IsRecord(schema)) return recordFaults(schema, value, path);
  if (IsObject(schema)) return objectFaults(schema, value, path);
  if (IsArray(schema)) return arrayFaults(schema, value, path);
  return Check(schema, value) ? [] : [{ path, accepts: acceptsOf(schema) }];
}

function objectFaults(schema: TObject, value: unknown, path: Path): Fault[] {
  const names = Object.keys(schema.properties);
  if (!isMapping(value)) return [{ path, accepts: `a mapping with ${names.join(", ")}` }];
  const faults: Fault[] = [];
  for (const key of Object.keys(value)) {
    if (!names.includes(key))
      faults.push({ path: [...path, key], problem: "is not known here", accepts: names.join(", ") });
  }
  for (const [name, property] of Object.entries(schema.properties)) {
    if (Object.hasOwn(value, name)) faults.push(...findFaults(property, value[name], [...path, name]));
    else if (!IsOptional(property))
      faults.push({ path: [...path, name], problem: "is missing", accepts: acceptsOf(property) });
  }
  return faults;
}

function recordFaults(schema: TRecord, value: unknown, path: Path): Fault[] {
  if (!isMapping(value)) return [{ path, accepts: "a mapping of names to values" }];
  const [item] = Object.values(schema.patternProperties);
  return Object.entries(value).flatMap(([key, entry]) =>
    item === undefined ? [] : findFaults(item, entry, [...path, key]),
  );
}

function arrayFaults(schema: TArray, value: unknown, path: Path): Fault[] {
  if (!Array.isArray(value)) return [{ path, accepts: acceptsOf(schema) }];
  const faults = value.flatMap((item, index) => findFaults(schema.items, item, [...path, index]));
  return faults.length > 0 || Check(schema, value) ? faults : [{ path, accepts: acceptsOf(schema) }];
}

function acceptsOf(schema: TSchema): string {
  const {
    description,
    properties,
    const: only,
  } = schema as {
    description?: string;
    properties?: object;
    const?: unknown;
  };
  if (description !== undefined) return description;
  if (properties !== undefined) return `a mapping with ${Object.keys(properties).join(", ")}`;
  return only === undefined ? "a mapping of names to values" : String(only);
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
