// What the process may have of memory and processors, so that its use can be told as a share of it. Read at each scrape:
// Kubernetes changes the limits of a container that runs.
import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import type { Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

export interface Limits {
  /** What the process is held to where the system does not tell, in place of what it tells. */
  readonly memoryLimitBytes?: number | undefined;
}

/** Returns how to end it. */
export function showLimits(instruments: Instruments, { memoryLimitBytes }: Limits = {}): () => void {
  const memory = instruments.gauge("process_memory_limit_bytes", () => {
    memory.labels({}).set(memoryLimitBytes ?? readMemoryLimit());
  });
  const cores = instruments.gauge("process_cpu_limit_cores", () => {
    cores.labels({}).set(readCpuLimit());
  });
  return () => withdraw(memory, cores);
}

/** The limit of the control group, of which an absent one is 0 or far above any memory, or the machine's memory. */
export function readMemoryLimit(constrained = process.constrainedMemory(), machine = totalmem()): number {
  return constrained > 0 && constrained < machine ? constrained : machine;
}

/**
 * Processors, as a fraction where a quota is one. Node.js's availableParallelism() minds affinity and quota too, but in
 * whole processors and at least one: with a quota of 0.5 a process that is at its limit would show a use of a half.
 *
 * @param root where the system's files are
 */
export function readCpuLimit(root = "/"): number {
  const allowed = countAllowed(read(join(root, "proc/self/status")));
  const quota = readQuota(root);
  if (allowed === undefined) return availableParallelism();
  return Math.min(allowed, quota ?? allowed);
}

/** Processors that the process may run on, from `Cpus_allowed`: hexadecimal words of a mask. */
function countAllowed(status: string | undefined): number | undefined {
  const mask = /^Cpus_allowed:\s*([\da-f,]+)$/m.exec(status ?? "")?.[1];
  if (mask === undefined) return undefined;
  let count = 0;
  for (const digit of mask.replaceAll(",", ""))
    count += (Number.parseInt(digit, 16).toString(2).match(/1/g) ?? []).length;
  return count > 0 ? count : undefined;
}

/** The least quota of the process's control group and those above it, in processors. */
function readQuota(root: string): number | undefined {
  const groups = read(join(root, "proc/self/cgroup")) ?? "";
  // A container sees its own group as the root of the file system, whatever the file says.
  const unified = /^0::(\/.*)$/m.exec(groups)?.[1] ?? "/";
  const legacy = /^\d+:(?:[^:]*,)?cpu(?:,[^:]*)?:(\/.*)$/m.exec(groups)?.[1] ?? "/";
  const quotas = [
    ...upwards(unified).map((group) => {
      const [quota, period] = (read(join(root, "sys/fs/cgroup", group, "cpu.max")) ?? "").trim().split(" ");
      return Number(quota) / Number(period);
    }),
    ...upwards(legacy).map((group) => {
      const folder = join(root, "sys/fs/cgroup/cpu", group);
      return Number(read(join(folder, "cpu.cfs_quota_us"))) / Number(read(join(folder, "cpu.cfs_period_us")));
    }),
    // "max" in the one and -1 in the other mean that there is none.
  ].filter((cores) => cores > 0 && Number.isFinite(cores));
  return quotas.length === 0 ? undefined : Math.min(...quotas);
}

/** A path and those above it, up to the root. */
function upwards(path: string): readonly string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return Array.from({ length: parts.length + 1 }, (_, left) => parts.slice(0, parts.length - left).join("/"));
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}
