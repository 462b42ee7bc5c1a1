import { access } from "node:fs/promises";
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { type ControlPlane, startControlPlane } from "./control-plane.ts";

const programs = await peer("kubernetes");
const files = programs?.files as NonNullable<typeof programs>["files"];

const hardened = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

const deployment = (securityContext: object) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "ectus" },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "ectus" } },
    template: {
      metadata: { labels: { app: "ectus" } },
      spec: { containers: [{ name: "ectus", image: "ectus", securityContext }] },
    },
  },
});

describe.skipIf(!programs)("a control plane", () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await startControlPlane({ programs: files, namespace: "ectus" });
    await plane.apply([
      {
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: "ectus", labels: { "pod-security.kubernetes.io/enforce": "restricted" } },
      },
    ]);
  }, 150_000);
  afterAll(() => plane?.stop());

  test("kubectl works in the namespace that was asked for", async () => {
    expect(await plane.kubectl("config", "view", "--minify", "--output=jsonpath={..namespace}")).toBe(
      "ectus",
    );
    expect(await plane.kubectl("get", "--raw=/version")).toContain('"gitVersion": "v1.');
  });

  test("a namespace that enforces restricted pods refuses one that is not hardened", async () => {
    const pod = (securityContext: object) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "lone" },
      spec: { containers: [{ name: "ectus", image: "ectus", securityContext }] },
    });
    // It takes pods once the namespace has its service account.
    await until(async () => (await plane.kubectl("get", "serviceaccounts")).includes("default"), 60_000);
    await expect(plane.apply([pod({ privileged: true })])).rejects.toMatchObject({
      code: "program_failed",
      message: expect.stringContaining('violates PodSecurity "restricted:latest": privileged'),
    });
    expect(await plane.apply([pod(hardened)], "--dry-run=server")).toBe(
      "pod/lone created (server dry run)\n",
    );
  });

  test("a deployment gets a replica set and pods, and they go with it", async () => {
    await plane.apply([deployment(hardened)]);
    const names = async (kind: string): Promise<readonly string[]> =>
      (await plane.kubectl("get", kind, "--selector=app=ectus", "--output=name")).split("\n").slice(0, -1);
    await until(async () => (await names("pods")).length === 2, 60_000);
    expect(await names("replicasets")).toEqual([expect.stringMatching(/^replicaset\.apps\/ectus-/)]);
    await plane.kubectl("delete", "deployment", "ectus", "--cascade=foreground", "--timeout=50s");
    expect(await names("replicasets")).toEqual([]);
  }, 150_000);

  test("YAML is applied as it is", async () => {
    const printed = await plane.apply("{ apiVersion: v1, kind: ConfigMap, metadata: { name: from-yaml } }");
    expect(printed).toBe("configmap/from-yaml created\n");
  });
});

describe.skipIf(!programs)("the end of a control plane", () => {
  test("nothing of it stays", async () => {
    const plane = await startControlPlane({ programs: files });
    await plane.stop();
    await expect(access(plane.kubeconfig)).rejects.toThrow("ENOENT");
    await expect(plane.kubectl("get", "namespaces")).rejects.toMatchObject({ code: "program_failed" });
  }, 150_000);

  test("a program that fails is told with its own words, and those before it are ended", async () => {
    const starting = startControlPlane({
      programs: {
        ...files,
        "kube-apiserver": "/bin/false",
        "kube-controller-manager": "/bin/false",
      },
    });
    await expect(starting).rejects.toMatchObject({
      code: "program_failed",
      message: expect.stringContaining("kube-apiserver ended with 1"),
    });
  }, 150_000);
});
