// Pods of a real API server whose status is patched, as the real kube-state-metrics tells them.
import { peer } from "@ectus/peers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { type ControlPlane, startControlPlane } from "../programs/control-plane.ts";
import { type KubeStateMetrics, startKubeStateMetrics } from "../programs/kube-state-metrics.ts";
import { setPodStatus } from "./pod-status.ts";

const kubernetes = await peer("kubernetes");
const stateMetrics = await peer("kube-state-metrics");

describe.skipIf(!kubernetes || !stateMetrics)("the status of a pod", () => {
  let plane: ControlPlane;
  let metrics: KubeStateMetrics;
  let pods: readonly string[];

  beforeAll(async () => {
    if (!kubernetes || !stateMetrics) return;
    plane = await startControlPlane({ programs: kubernetes.files, namespace: "ectus" });
    await plane.kubectl("create", "namespace", "ectus");
    await plane.apply([deployment]);
    const names = async () =>
      (await plane.kubectl("get", "pods", "--output=jsonpath={.items[*].metadata.name}")).split(" ");
    await until(async () => (await names()).length === 2, 60_000);
    pods = await names();
    metrics = await startKubeStateMetrics({
      path: stateMetrics.files["kube-state-metrics"],
      kubeconfig: plane.kubeconfig,
    });
  }, 250_000);
  afterAll(async () => {
    await metrics?.stop();
    await plane?.stop();
  }, 60_000);

  /** Values of a metric by reason or container, of one pod. */
  async function values(metric: string, pod: string): Promise<Readonly<Record<string, number>>> {
    const text = await (await fetch(`http://${metrics.address}/metrics`)).text();
    const lines = text
      .split("\n")
      .filter((line) => line.startsWith(`${metric}{`) && line.includes(`pod="${pod}"`));
    return Object.fromEntries(
      lines.map((line) => {
        const label = (name: string): string | undefined =>
          new RegExp(`[{,]${name}="([^"]*)"`).exec(line)?.[1];
        expect(label("namespace")).toBe("ectus");
        return [
          [label("container"), label("reason")].filter(Boolean).join(" "),
          Number(line.split(" ").at(-1)),
        ];
      }),
    );
  }

  test("a container that loops in crashes is told as one, and its neighbor is not", async () => {
    const [pod = ""] = pods;
    await setPodStatus(plane.kubectl, { pod, container: "ectus", state: "crash-looping", restarts: 7 });
    await until(
      async () => (await values("kube_pod_container_status_restarts_total", pod)).ectus === 7,
      20_000,
    );
    expect(await values("kube_pod_container_status_waiting_reason", pod)).toEqual({
      "ectus CrashLoopBackOff": 1,
    });
    expect(await values("kube_pod_container_status_last_terminated_reason", pod)).toEqual({
      "ectus Error": 1,
    });
    expect(await values("kube_pod_container_status_restarts_total", pod)).toEqual({ ectus: 7, sidecar: 0 });
    expect(await values("kube_pod_container_status_ready", pod)).toEqual({ ectus: 0, sidecar: 1 });
    expect(await plane.kubectl("get", "pod", pod)).toMatch(/1\/2 +CrashLoopBackOff +7/);
  });

  test("a container that was killed for its memory is told as one", async () => {
    const [, pod = ""] = pods;
    await setPodStatus(plane.kubectl, { pod, container: "ectus", state: "oom-killed", restarts: 1 });
    await until(
      async () => (await values("kube_pod_container_status_restarts_total", pod)).ectus === 1,
      20_000,
    );
    expect(await values("kube_pod_container_status_last_terminated_reason", pod)).toEqual({
      "ectus OOMKilled": 1,
    });
    expect(await values("kube_pod_container_status_waiting_reason", pod)).toEqual({});
    expect(await plane.kubectl("describe", "pod", pod)).toMatch(
      /Last State: +Terminated\n +Reason: +OOMKilled/,
    );
  });

  test("once all run, nothing is told any more and the deployment is available", async () => {
    for (const pod of pods)
      await setPodStatus(plane.kubectl, { pod, container: "ectus", state: "running", restarts: 7 });
    for (const pod of pods) {
      await until(async () => (await values("kube_pod_container_status_ready", pod)).ectus === 1, 20_000);
      expect(await values("kube_pod_container_status_waiting_reason", pod)).toEqual({});
      expect(await values("kube_pod_container_status_last_terminated_reason", pod)).toEqual({});
    }
    await plane.kubectl("rollout", "status", "deployment/ectus", "--timeout=25s");
  });

  test("a pod that is not there is told", async () => {
    const patching = setPodStatus(plane.kubectl, {
      pod: "none",
      container: "ectus",
      state: "running",
      restarts: 0,
    });
    await expect(patching).rejects.toMatchObject({
      code: "program_failed",
      message: expect.stringContaining('pods "none" not found'),
    });
  });
});

const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "ectus" },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "ectus" } },
    template: {
      metadata: { labels: { app: "ectus" } },
      spec: { containers: ["ectus", "sidecar"].map((name) => ({ name, image: name })) },
    },
  },
};
