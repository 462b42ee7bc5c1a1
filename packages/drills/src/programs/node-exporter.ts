// node_exporter on loopback: what the machine itself says of its disks, memory and processors.
import { findFreePort } from "./free-port.ts";
import { startProgram } from "./program.ts";

export interface NodeExporterOptions {
  /** Path of the program. */
  readonly path: string;
  /** Only these collectors, as in `--collector.filesystem`; all that are usual if left out. */
  readonly collectors?: readonly string[];
  /** Regular expression (Go's) of the mount points that are told; the usual ones if left out. */
  readonly mountPoints?: string;
}

export interface NodeExporter {
  /** What Prometheus scrapes: host and port. */
  readonly address: string;
  readonly pid: number;
  readonly log: () => string;
  readonly stop: () => Promise<void>;
}

const startTimeoutMs = 30_000;

/**
 * Resolves when it can be scraped.
 *
 * @throws EctusError `program_failed` when it ends or does not become ready
 */
export async function startNodeExporter(options: NodeExporterOptions): Promise<NodeExporter> {
  const { path, collectors, mountPoints } = options;
  const address = `127.0.0.1:${await findFreePort()}`;
  const { pid, log, stop } = await startProgram({
    name: "node_exporter",
    path,
    args: [
      `--web.listen-address=${address}`,
      ...(collectors === undefined
        ? []
        : ["--collector.disable-defaults", ...collectors.map((name) => `--collector.${name}`)]),
      ...(mountPoints === undefined ? [] : [`--collector.filesystem.mount-points-include=${mountPoints}`]),
    ],
    ready: async () => (await fetch(`http://${address}/metrics`)).ok,
    timeoutMs: startTimeoutMs,
  });
  return { address, pid, log, stop };
}
