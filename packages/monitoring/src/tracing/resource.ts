// What traces say of the process that they come from.
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";

export interface ProcessDescription {
  readonly serviceName: string;
  readonly version: string;
  /** Of OTEL_RESOURCE_ATTRIBUTES; they win. */
  readonly attributes: Readonly<Record<string, string>>;
}

export function describeProcess({ serviceName, version, attributes }: ProcessDescription): Resource {
  return resourceFromAttributes({ "service.name": serviceName, "service.version": version, ...attributes });
}
