// The cluster that runbooks' commands find: namespace ectus with the Deployments of the API and of the worker, both with
// an earlier revision, and pods whose status is what a kubelet would say.
import { type ControlPlane, setPodStatus, startControlPlane } from "@ectus/drills";
import type { PathsOf } from "@ectus/peers";
import { until } from "../postgres/until.ts";

export interface Cluster {
  readonly kubeconfig: string;
  /** Sets both Deployments back to how they were, whatever a runbook did to them. */
  reset(): Promise<void>;
  /** A pod of the API, of its newest revision. */
  pod(): Promise<string>;
  stop(): Promise<void>;
}

export const nodeName = "node-1";
const namespace = "ectus";
const podTimeoutMs = 60_000;

export async function startCluster(programs: PathsOf<"kubernetes">["files"]): Promise<Cluster> {
  const plane = await startControlPlane({ programs, namespace });
  try {
    await plane.apply([
      {
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: namespace, labels: { "pod-security.kubernetes.io/enforce": "restricted" } },
      },
      { apiVersion: "v1", kind: "Node", metadata: { name: nodeName } },
      {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: "ectus-providers", namespace },
        data: { "providers.yaml": "providers: {}\nmodels: {}\n" },
      },
      {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "ectus-secrets", namespace },
        stringData: secrets,
      },
    ]);
    await plane.apply(deployments("1.0.0"), "--namespace", namespace);
    await podOf(plane);
    await reset(plane);
    await podOf(plane);
    await showFaults(plane);
  } catch (error) {
    await plane.stop();
    throw error;
  }
  return {
    kubeconfig: plane.kubeconfig,
    reset: () => reset(plane),
    pod: () => podOf(plane),
    stop: () => plane.stop(),
  };
}

const secrets = { API_KEY_SECRET: "0".repeat(32), SIGNING_KEY: "A".repeat(43) };

async function reset(plane: ControlPlane): Promise<void> {
  // The whole spec, since `apply` would leave what others have added to it.
  for (const { metadata, spec } of deployments("1.1.0")) {
    const patch = JSON.stringify([{ op: "replace", path: "/spec", value: spec }]);
    await plane.kubectl("patch", "deployment", metadata.name, "--type=json", `--patch=${patch}`);
  }
}

/** A pod of the newest revision that stays. */
async function podOf({ kubectl }: ControlPlane): Promise<string> {
  let pod = "";
  await until(
    async () => {
      const current = JSON.parse(await kubectl("get", "deployment", "ectus", "--output=json"));
      if (current.status?.observedGeneration !== current.metadata.generation) return false;
      const revision = current.metadata.annotations["deployment.kubernetes.io/revision"];
      const sets = JSON.parse(await kubectl("get", "replicasets", "--selector=app=ectus", "--output=json"));
      const newest = sets.items.find(
        ({ metadata }: KubernetesObject) =>
          metadata.annotations?.["deployment.kubernetes.io/revision"] === revision,
      );
      const pods = JSON.parse(await kubectl("get", "pods", "--selector=app=ectus", "--output=json"));
      const found = pods.items.find(
        ({ metadata }: KubernetesObject) =>
          metadata.deletionTimestamp === undefined &&
          metadata.ownerReferences?.[0]?.uid === newest?.metadata.uid,
      );
      pod = found?.metadata.name ?? "";
      return pod !== "";
    },
    podTimeoutMs,
    200,
  );
  return pod;
}

interface KubernetesObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly deletionTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
}

/** One that loops in crashes and one that was killed for its memory, of the worker, so that their series are there. */
async function showFaults({ kubectl }: ControlPlane): Promise<void> {
  let names: string[] = [];
  await until(
    async () => {
      const pods = JSON.parse(await kubectl("get", "pods", "--selector=app=ectus-worker", "--output=json"));
      names = pods.items.map(({ metadata }: KubernetesObject) => metadata.name);
      return names.length >= 2;
    },
    podTimeoutMs,
    200,
  );
  const [first = "", second = ""] = names;
  await setPodStatus(kubectl, { pod: first, container: "ectus", state: "crash-looping", restarts: 5 });
  await setPodStatus(kubectl, { pod: second, container: "ectus", state: "oom-killed", restarts: 2 });
}

function deployments(version: string) {
  return [deployment("ectus", "api", 3, version), deployment("ectus-worker", "worker", 2, version)];
}

function deployment(name: string, component: string, replicas: number, version: string) {
  const labels = { app: name, "app.kubernetes.io/name": "ectus", "app.kubernetes.io/component": component };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace, labels },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels },
        spec: {
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 1000,
            seccompProfile: { type: "RuntimeDefault" },
          },
          terminationGracePeriodSeconds: 60,
          containers: [
            {
              name: "ectus",
              image: `registry.example.com/ectus:${version}`,
              env: [{ name: "AI_PROVIDERS", value: "/etc/ectus/providers.yaml" }],
              envFrom: [{ secretRef: { name: "ectus-secrets" } }],
              securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
              resources: {
                requests: { cpu: "500m", memory: "512Mi" },
                limits: { cpu: "2", memory: "1Gi" },
              },
              volumeMounts: [{ name: "providers", mountPath: "/etc/ectus" }],
            },
          ],
          volumes: [{ name: "providers", configMap: { name: "ectus-providers" } }],
        },
      },
    },
  };
}
