// What a span takes at most. OpenTelemetry's defaults are the same numbers; its SDK has no limit of lengths by default.
// https://opentelemetry.io/docs/specs/otel/common/#attribute-limits
import type { Attributes, AttributeValue, TimeInput } from "@opentelemetry/api";

export const mostAttributes = 128;
export const mostEvents = 128;
export const mostLinks = 128;
/**
 * Bytes of all long values, events and links of one span, about: serializing it holds the event loop, and a batch is one
 * span at least.
 */
export const mostSpanBytes = 65_536;
/** Values up to it are not counted: there are few enough of them. */
export const shortCharacters = 256;
/** Elements of a value that is a list. */
const mostElements = 128;
/** Of a value, or of each element of one. */
const mostCharacters = 4_096;
const mostKeyCharacters = 256;
const mostNameCharacters = 1_024;

/** The name of a span or an event: others may give anything. */
export function toName(name: string): string {
  return typeof name === "string" ? truncate(name, mostNameCharacters) : "";
}

/** A value as it is exported, and undefined for one that is not: bytes, maps, what is no value, or a key that is none. */
export function toAttributeValue(key: string, value: AttributeValue): AttributeValue | undefined {
  // `__proto__` would be the prototype of what holds the attributes.
  if (typeof key !== "string" || key === "" || key.length > mostKeyCharacters || key === "__proto__")
    return undefined;
  if (!Array.isArray(value)) return toScalar(value);
  const list: AttributeValue[] = [];
  for (const element of value.slice(0, mostElements)) list.push(toScalar(element) ?? null);
  return list;
}

function toScalar(value: unknown): string | number | boolean | undefined {
  switch (typeof value) {
    case "string":
      return truncate(value, mostCharacters);
    case "number":
    case "boolean":
      return value;
    default:
      return undefined;
  }
}

/** A long one is copied: a part of a string keeps all of it in memory. */
function truncate(text: string, most: number): string {
  return text.length <= most ? text : Buffer.from(text.slice(0, most)).toString();
}

/** The attributes of an event or a link. */
export function toAttributes(given: Attributes | undefined): {
  readonly attributes: Attributes;
  readonly dropped: number;
} {
  const attributes: Attributes = {};
  let count = 0;
  let dropped = 0;
  for (const key of given === undefined || given === null ? [] : Object.keys(given)) {
    const value = count < mostAttributes ? toAttributeValue(key, given?.[key]) : undefined;
    if (value === undefined) {
      dropped += 1;
    } else {
      attributes[key] = value;
      count += 1;
    }
  }
  return { attributes, dropped };
}

/** Tells a time from attributes, where the API takes either. */
export function isTime(value: Attributes | TimeInput | undefined): value is TimeInput {
  return typeof value === "number" || Array.isArray(value) || value instanceof Date;
}
