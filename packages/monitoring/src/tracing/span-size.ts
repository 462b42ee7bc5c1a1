// About how many bytes a span takes in memory and when it is sent, for the bounds of queue and batch.
import type { Attributes, AttributeValue } from "@opentelemetry/api";
import type { Span } from "./span.ts";

const ofSpan = 200;
const ofAttribute = 16;

export function sizeOf({ name, template, attributes, details }: Span): number {
  let bytes = ofSpan + name.length + sizeOfAttributes(template.attributes);
  if (attributes !== undefined) bytes += sizeOfAttributes(attributes);
  if (details === undefined) return bytes;
  for (const event of details.events)
    bytes += ofSpan + event.name.length + sizeOfAttributes(event.attributes);
  for (const link of details.links) bytes += ofSpan + sizeOfAttributes(link.attributes);
  return bytes;
}

export function sizeOfAttributes(attributes: Attributes): number {
  let bytes = 0;
  for (const key in attributes) bytes += key.length + sizeOfValue(attributes[key]);
  return bytes;
}

export function sizeOfValue(value: AttributeValue): number {
  if (typeof value === "string") return ofAttribute + value.length;
  let bytes = ofAttribute;
  if (Array.isArray(value))
    for (const element of value) bytes += ofAttribute + (typeof element === "string" ? element.length : 0);
  return bytes;
}
