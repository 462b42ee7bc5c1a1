// Says of a pod what a kubelet would say of it. A control plane without nodes runs no pods, so this is how one of them
// loops in crashes there; API server, controllers and kube-state-metrics take it as they take a kubelet's word.
import type { Kubectl } from "../programs/control-plane.ts";

export interface PodStatus {
  /** Name of the pod in the kubeconfig's current namespace. */
  readonly pod: string;
  /** The container that it is about; the pod's other containers run. */
  readonly container: string;
  /**
   * `running`: ready, never ended otherwise. `crash-looping`: waits to be started again after it ended with 1.
   * `oom-killed`: runs again after the kernel killed it for its memory.
   */
  readonly state: "running" | "crash-looping" | "oom-killed";
  /** How often it has been started again. */
  readonly restarts: number;
}

/**
 * Patches the status of a pod that is there.
 *
 * @throws EctusError `program_failed` when there is no such pod or the API server refuses
 */
export async function setPodStatus(kubectl: Kubectl, status: PodStatus): Promise<void> {
  const names = await kubectl("get", "pod", status.pod, "--output=jsonpath={.spec.containers[*].name}");
  const patch = JSON.stringify({ status: podStatus(status, names.split(" "), new Date()) });
  await kubectl("patch", "pod", status.pod, "--subresource=status", "--type=merge", `--patch=${patch}`);
}

function podStatus(status: PodStatus, containers: readonly string[], now: Date): object {
  const ready = status.state !== "crash-looping";
  const at = now.toISOString().replace(/\.\d+Z$/, "Z");
  const condition = { status: ready ? "True" : "False", lastTransitionTime: at };
  return {
    phase: "Running",
    startTime: at,
    conditions: ["Initialized", "ContainersReady", "Ready", "PodScheduled"].map((type) =>
      type === "Initialized" || type === "PodScheduled"
        ? { type, status: "True", lastTransitionTime: at }
        : { type, ...condition },
    ),
    containerStatuses: containers.map((name) => ({
      name,
      image: "ectus",
      imageID: "",
      ...(name === status.container
        ? containerStatus(status, at)
        : containerStatus({ state: "running", restarts: 0 }, at)),
    })),
  };
}

function containerStatus({ state, restarts }: Pick<PodStatus, "state" | "restarts">, at: string): object {
  const running = { running: { startedAt: at } };
  const ended = (reason: string, exitCode: number) => ({
    terminated: { reason, exitCode, startedAt: at, finishedAt: at },
  });
  switch (state) {
    case "running":
      return { ready: true, started: true, restartCount: restarts, state: running };
    case "crash-looping":
      return {
        ready: false,
        started: false,
        restartCount: restarts,
        state: {
          waiting: { reason: "CrashLoopBackOff", message: "back-off 5m0s restarting failed container" },
        },
        lastState: ended("Error", 1),
      };
    case "oom-killed":
      return {
        ready: true,
        started: true,
        restartCount: restarts,
        state: running,
        // 128 + SIGKILL
        lastState: ended("OOMKilled", 137),
      };
  }
}
