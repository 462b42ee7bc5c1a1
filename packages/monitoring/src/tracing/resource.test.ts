import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { describeProcess } from "./resource.ts";

const named = { serviceName: "ectus", version: "1.2.3", attributes: {} };

test("a process is described by service, host and runtime, after the conventions that the spans follow", () => {
  const { attributes, schemaUrl } = describeProcess(named);
  expect(attributes).toEqual({
    "service.name": "ectus",
    "service.version": "1.2.3",
    "service.instance.id": expect.stringMatching(/^[\da-f-]{36}$/),
    "host.name": hostname(),
    "process.pid": process.pid,
    "process.runtime.name": "nodejs",
    "process.runtime.version": process.versions.node,
    "telemetry.sdk.name": "ectus",
    "telemetry.sdk.language": "nodejs",
    "telemetry.sdk.version": "1.2.3",
  });
  expect(schemaUrl).toBe("https://opentelemetry.io/schemas/1.45.0");
});

test("two processes are told apart", () => {
  const id = () => describeProcess(named).attributes["service.instance.id"];
  expect(id()).not.toBe(id());
});

test("what the operator says wins", () => {
  const attributes = { "service.name": "other", "deployment.environment.name": "production" };
  expect(describeProcess({ ...named, attributes }).attributes).toMatchObject(attributes);
});

const kubernetes = { KUBERNETES_SERVICE_HOST: "10.0.0.1", HOSTNAME: "ectus-7d9f-abcde" };

test("a pod is described by what the downward API says", () => {
  const environment = {
    ...kubernetes,
    POD_NAME: "ectus-0",
    POD_UID: "0a1b",
    POD_NAMESPACE: "ai",
    NODE_NAME: "node-3",
    CONTAINER_NAME: "api",
  };
  expect(describeProcess({ ...named, environment }).attributes).toMatchObject({
    "k8s.pod.name": "ectus-0",
    "k8s.pod.uid": "0a1b",
    "k8s.namespace.name": "ai",
    "k8s.node.name": "node-3",
    "k8s.container.name": "api",
  });
});

test("without the downward API a pod's name is the host's, and its namespace the service account's", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ectus-resource-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const namespaceFile = join(folder, "namespace");
  await writeFile(namespaceFile, "ai\n");
  const { attributes } = describeProcess({ ...named, environment: kubernetes, namespaceFile });
  expect(attributes).toMatchObject({ "k8s.pod.name": "ectus-7d9f-abcde", "k8s.namespace.name": "ai" });
  expect(attributes).not.toHaveProperty("k8s.node.name");
  const without = describeProcess({ ...named, environment: kubernetes, namespaceFile: join(folder, "none") });
  expect(without.attributes).not.toHaveProperty("k8s.namespace.name");
});

test("outside of Kubernetes nothing is said of a pod", () => {
  const { attributes } = describeProcess({ ...named, environment: { POD_NAME: "x", HOSTNAME: "y" } });
  expect(Object.keys(attributes).filter((name) => name.startsWith("k8s."))).toEqual([]);
});
