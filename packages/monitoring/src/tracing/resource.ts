// What traces say of the process that they come from.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { Environment } from "@ectus/core";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import {
  ATTR_K8S_CONTAINER_NAME,
  ATTR_K8S_NAMESPACE_NAME,
  ATTR_K8S_NODE_NAME,
  ATTR_K8S_POD_NAME,
  ATTR_K8S_POD_UID,
  ATTR_SERVICE_INSTANCE_ID,
  ATTR_SERVICE_NAME,
  ATTR_SERVICE_VERSION,
  ATTR_TELEMETRY_SDK_LANGUAGE,
  ATTR_TELEMETRY_SDK_NAME,
  ATTR_TELEMETRY_SDK_VERSION,
  TELEMETRY_SDK_LANGUAGE_VALUE_NODEJS,
} from "@opentelemetry/semantic-conventions";
import {
  ATTR_HOST_NAME,
  ATTR_PROCESS_PID,
  ATTR_PROCESS_RUNTIME_NAME,
  ATTR_PROCESS_RUNTIME_VERSION,
} from "@opentelemetry/semantic-conventions/incubating";

/** The version of OpenTelemetry's semantic conventions that names, attributes and status of spans follow. */
export const schemaUrl = "https://opentelemetry.io/schemas/1.45.0";

export interface ProcessDescription {
  readonly serviceName: string;
  readonly version: string;
  /** Of OTEL_RESOURCE_ATTRIBUTES; they win. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Where Kubernetes says what the process runs in; nothing by default. */
  readonly environment?: Environment;
  /** What the service account's folder says of the namespace. */
  readonly namespaceFile?: string;
}

/**
 * The resource of the spans. OpenTelemetry's own detectors are not asked: they add the program's arguments, which may
 * hold anything, and the machine's id.
 */
export function describeProcess(description: ProcessDescription): Resource {
  const { serviceName, version, attributes } = description;
  return resourceFromAttributes(
    {
      [ATTR_SERVICE_NAME]: serviceName,
      [ATTR_SERVICE_VERSION]: version,
      [ATTR_SERVICE_INSTANCE_ID]: randomUUID(),
      [ATTR_HOST_NAME]: hostname(),
      [ATTR_PROCESS_PID]: process.pid,
      [ATTR_PROCESS_RUNTIME_NAME]: "nodejs",
      [ATTR_PROCESS_RUNTIME_VERSION]: process.versions.node,
      // As the convention has it for what is not OpenTelemetry's own SDK.
      [ATTR_TELEMETRY_SDK_NAME]: "ectus",
      [ATTR_TELEMETRY_SDK_LANGUAGE]: TELEMETRY_SDK_LANGUAGE_VALUE_NODEJS,
      [ATTR_TELEMETRY_SDK_VERSION]: version,
      ...describePod(description),
      ...attributes,
    },
    { schemaUrl },
  );
}

/**
 * The pod, by the downward API's variables; without them its name is the host name, and the namespace stands in the
 * service account's folder. https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
 */
function describePod({
  environment = {},
  namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace",
}: ProcessDescription): Record<string, string> {
  if (!environment.KUBERNETES_SERVICE_HOST) return {};
  const found = {
    [ATTR_K8S_POD_NAME]:
      environment.K8S_POD_NAME || environment.POD_NAME || environment.HOSTNAME || hostname(),
    [ATTR_K8S_POD_UID]: environment.K8S_POD_UID || environment.POD_UID,
    [ATTR_K8S_NAMESPACE_NAME]:
      environment.K8S_NAMESPACE_NAME || environment.POD_NAMESPACE || readNamespace(namespaceFile),
    [ATTR_K8S_NODE_NAME]: environment.K8S_NODE_NAME || environment.NODE_NAME,
    [ATTR_K8S_CONTAINER_NAME]: environment.K8S_CONTAINER_NAME || environment.CONTAINER_NAME,
  };
  return Object.fromEntries(
    Object.entries(found).filter((entry): entry is [string, string] => Boolean(entry[1])),
  );
}

/** A line that is read once, when the process starts. */
function readNamespace(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
