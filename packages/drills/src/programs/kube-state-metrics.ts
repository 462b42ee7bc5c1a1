// kube-state-metrics beside a control plane: what it tells Prometheus of pods and deployments is what the API server has.
import { findFreePort } from "./free-port.ts";
import { startProgram } from "./program.ts";

export interface KubeStateMetricsOptions {
  /** Path of the program. */
  readonly path: string;
  readonly kubeconfig: string;
}

export interface KubeStateMetrics {
  /** What Prometheus scrapes: host and port. */
  readonly address: string;
  readonly pid: number;
  readonly log: () => string;
  readonly stop: () => Promise<void>;
}

const startTimeoutMs = 60_000;

/**
 * Resolves when what it serves has been read from the API server.
 *
 * @throws EctusError `program_failed` when it ends or does not become ready
 */
export async function startKubeStateMetrics({
  path,
  kubeconfig,
}: KubeStateMetricsOptions): Promise<KubeStateMetrics> {
  const address = `127.0.0.1:${await findFreePort()}`;
  const [host, port] = address.split(":");
  const { pid, log, stop } = await startProgram({
    name: "kube-state-metrics",
    path,
    args: [
      `--kubeconfig=${kubeconfig}`,
      `--host=${host}`,
      `--port=${port}`,
      // Metrics of itself, which nobody asks for here, have a port that cannot be left out.
      `--telemetry-host=${host}`,
      `--telemetry-port=${await findFreePort()}`,
    ],
    // Its own readiness does not wait for the first reading.
    ready: async () =>
      (await (await fetch(`http://${address}/metrics`)).text()).includes("\nkube_namespace_created{"),
    timeoutMs: startTimeoutMs,
  });
  return { address, pid, log, stop };
}
