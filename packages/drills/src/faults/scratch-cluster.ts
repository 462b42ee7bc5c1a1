// A cluster with a release of Ectus-R in it, as far as one without nodes goes: a real API server, controllers and
// kube-state-metrics. What a kubelet would say of the pods is said in its place.
import type { Drill, Mitigate } from "../drill.ts";
import { withPrepared } from "../prepared.ts";
import { type Kubectl, startControlPlane } from "../programs/control-plane.ts";
import { startKubeStateMetrics } from "../programs/kube-state-metrics.ts";
import type { Parts, Rig } from "../rig/rig.ts";
import { waitFor } from "../timeline.ts";
import { type PodStatus, setPodStatus } from "./pod-status.ts";

export interface ScratchCluster {
  readonly kubectl: Kubectl;
  /** Says of a pod's container what a kubelet would. */
  readonly say: (status: Pick<PodStatus, "pod" | "state" | "restarts">) => Promise<void>;
  /** Name of a pod whose container has this image, once there is one. */
  readonly podOf: (image: string) => Promise<string>;
  /** Has each new pod run, until all that are wanted are of the newest release and available, and no others are left. */
  readonly rollOut: () => Promise<void>;
}

export const goodImage = "registry.example.com/ectus:good";

const programs = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kubectl",
  "kube-state-metrics",
] as const;
const name = "ectus";
const labels = { "app.kubernetes.io/name": name };
const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name, labels },
  spec: {
    replicas: 2,
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        containers: [
          { name, image: goodImage, resources: { limits: { memory: "1Gi" }, requests: { memory: "512Mi" } } },
        ],
      },
    },
  },
};
const rolledOutWithinMs = 60_000;

/** A drill whose fault is in a cluster. */
export const inCluster = (
  breakIt: (cluster: ScratchCluster, rig: Rig) => Promise<Mitigate>,
): Pick<Drill, "programs" | "prepare" | "inject"> => ({
  programs,
  ...withPrepared(async (parts) => {
    const { program, defer, keepLog, signal } = parts;
    const plane = await startControlPlane({
      programs: {
        etcd: program("etcd"),
        "kube-apiserver": program("kube-apiserver"),
        "kube-controller-manager": program("kube-controller-manager"),
        kubectl: program("kubectl"),
      },
      namespace: name,
    });
    defer(plane.stop);
    await plane.kubectl("create", "namespace", name);
    await plane.apply([deployment]);
    const cluster = scratchCluster(plane.kubectl, signal);
    await cluster.rollOut();
    const metrics = await startKubeStateMetrics({
      path: program("kube-state-metrics"),
      kubeconfig: plane.kubeconfig,
    });
    defer(metrics.stop);
    keepLog("kube-state-metrics", metrics.log);
    return { thing: cluster, targets: [{ job: "kube-state-metrics", address: metrics.address }] };
  }, breakIt),
});

interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly containers: readonly { readonly image: string }[] };
  readonly status: { readonly containerStatuses?: readonly unknown[] };
}

function scratchCluster(kubectl: Kubectl, signal: Parts["signal"]): ScratchCluster {
  const pods = async (): Promise<readonly Pod[]> => {
    const list: { items: readonly Pod[] } = JSON.parse(await kubectl("get", "pods", "--output=json"));
    return list.items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  };
  const say: ScratchCluster["say"] = (status) => setPodStatus(kubectl, { container: name, ...status });
  const described = async (): Promise<string> => (await kubectl("get", "deployments,pods")).trim();
  return {
    kubectl,
    say,
    podOf: (image) =>
      waitFor({
        what: `A pod of ${image} is there`,
        expected: "one that the Deployment's controller has made",
        withinMs: rolledOutWithinMs,
        signal,
        ask: async () =>
          (await pods()).find(({ spec }) => spec.containers[0]?.image === image)?.metadata.name,
        seen: described,
      }),
    async rollOut() {
      await waitFor({
        what: "The release is rolled out",
        expected: "as many available pods of it as are wanted, and no others",
        withinMs: rolledOutWithinMs,
        signal,
        async ask() {
          for (const { metadata, status } of await pods())
            if (status.containerStatuses === undefined)
              await say({ pod: metadata.name, state: "running", restarts: 0 });
          const { metadata, spec, status } = JSON.parse(
            await kubectl("get", "deployment", name, "--output=json"),
          );
          const counts = [status.replicas, status.updatedReplicas, status.availableReplicas];
          const isDone =
            status.observedGeneration === metadata.generation &&
            counts.every((count) => count === spec.replicas);
          return isDone ? true : undefined;
        },
        seen: described,
      });
    },
  };
}
