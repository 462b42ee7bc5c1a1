// A disk that is small enough to be filled, and node_exporter that tells of it. It is a tmpfs in a mount namespace that
// only node_exporter is in: nothing else on the machine sees it, and it is gone when that process is, however it ends.
import { mkdir, rm, statfs, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { EctusError, errorMessage } from "@ectus/core";
import { findFreePort } from "../programs/free-port.ts";
import { startProgram } from "../programs/program.ts";

export interface SmallDiskOptions {
  /** Path of node_exporter. */
  readonly path: string;
  /** Of the drill; the disk lies in it. */
  readonly folder: string;
}

export interface SmallDisk {
  /** What Prometheus scrapes: host and port. */
  readonly address: string;
  /** As node_exporter tells it. */
  readonly mountPoint: string;
  /** Writes a file, so that this share of the disk is used. */
  readonly fill: (share: number) => Promise<void>;
  /** Removes what was written. */
  readonly clear: () => Promise<void>;
  readonly log: () => string;
  /** Ends node_exporter; the disk goes with it. */
  readonly stop: () => Promise<void>;
}

const size = "16m";
const startTimeoutMs = 30_000;

// $0 is the mount point, and the rest is node_exporter with its arguments. A namespace of users takes away that it is
// ended with this process, so that is asked for again.
const script = `mount -t tmpfs -o size=${size},mode=0700 tmpfs "$0" && exec setpriv --pdeathsig TERM -- "$@"`;

/** @throws EctusError `program_failed` when this user may not mount, or node_exporter does not become ready */
export async function startSmallDisk({ path, folder }: SmallDiskOptions): Promise<SmallDisk> {
  const mountPoint = join(folder, "small-disk");
  await mkdir(mountPoint);
  const processes = join(folder, "processes");
  await mkdir(processes);
  // It tells of the mounts of process 1, which is not in its namespace: here, that is itself.
  await symlink("/proc/self", join(processes, "1"));
  const address = `127.0.0.1:${await findFreePort()}`;
  const read = async (): Promise<string> => (await fetch(`http://${address}/metrics`)).text();
  const program = await startProgram({
    name: "node_exporter",
    path: "unshare",
    args: [
      "--mount",
      // Whoever is not root may mount as the root of a namespace of users.
      ...(process.getuid?.() === 0 ? [] : ["--map-root-user"]),
      "sh",
      "-c",
      script,
      mountPoint,
      path,
      `--web.listen-address=${address}`,
      `--path.procfs=${processes}`,
      "--collector.disable-defaults",
      "--collector.filesystem",
      `--collector.filesystem.mount-points-include=^${RegExp.escape(mountPoint)}$`,
    ],
    ready: async () => (await read()).includes("\nnode_filesystem_size_bytes{"),
    timeoutMs: startTimeoutMs,
  }).catch((error: unknown) => {
    throw new EctusError("program_failed", { reason: needs(errorMessage(error)) });
  });
  const inside = join("/proc", String(program.pid), "root", mountPoint);
  const filling = join(inside, "filling");
  const clear = (): Promise<void> => rm(filling, { force: true });
  return {
    address,
    mountPoint,
    async fill(share) {
      await clear();
      const { blocks, bsize } = await statfs(inside);
      await writeFile(filling, Buffer.alloc(Math.floor(blocks * share) * bsize));
    },
    clear,
    log: program.log,
    stop: program.stop,
  };
}

const needs = (reason: string): string =>
  `A small disk could not be mounted and watched. This takes Linux with util-linux, and root or a user who may make namespaces of users (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0). ${reason}`;
