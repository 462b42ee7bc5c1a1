// CPU time and memory of processes, from /proc. Where there is none (not Linux), nothing is measured.
import { readdir, readFile } from "node:fs/promises";

// USER_HZ, in which /proc counts for every program, is 100 on all platforms that Node.js runs on.
const tickMs = 10;

interface Stat {
  readonly parent: number;
  /** CPU time of its own, and with that of children that have ended. */
  readonly ownMs: number;
  readonly withEndedMs: number;
}

/** CPU milliseconds that a process has used, in user and system mode. */
export async function cpuMs(pid: number): Promise<number | null> {
  return (await stat(pid))?.ownMs ?? null;
}

/** CPU milliseconds of everything that a process has started. */
export async function childrenCpuMs(pid: number): Promise<number | null> {
  const pids = await readdir("/proc").catch(() => undefined);
  if (pids === undefined) return null;
  const stats = new Map<number, Stat>();
  for (const name of pids) {
    const of = /^\d+$/.test(name) ? await stat(Number(name)) : undefined;
    if (of !== undefined) stats.set(Number(name), of);
  }
  const sum = (parent: number): number => {
    let ms = 0;
    for (const [child, of] of stats) if (of.parent === parent) ms += of.withEndedMs + sum(child);
    return ms;
  };
  return sum(pid);
}

/** Resident bytes of a process. */
export async function residentBytes(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1];
  return kib === undefined ? null : Number(kib) * 1_024;
}

async function stat(pid: number): Promise<Stat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // The second field, the program's name, may hold anything; what follows are numbers from the third field on.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const field = (number: number): number => Number(fields[number - 3]);
  const ownMs = (field(14) + field(15)) * tickMs;
  return { parent: field(4), ownMs, withEndedMs: ownMs + (field(16) + field(17)) * tickMs };
}
