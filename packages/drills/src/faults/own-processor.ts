// Leaves a program one processor, so that it can be kept busy by itself, whatever else the machine does.
import { readFileSync, writeFileSync } from "node:fs";
import { constants, setPriority } from "node:os";

/** A processor that this process may use, as `taskset -c` takes it; 0 where the system does not tell. */
export function oneProcessor(): string {
  try {
    return /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  } catch {
    return "0";
  }
}

/**
 * Lets the program go before others, where this user may say so: on a busy machine it gets its processor all the same. Its
 * other threads, which have less to do, are as they were.
 */
export function goFirst(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_HIGHEST);
    // Where Linux shares time among sessions first, a priority counts only within one, unless the session has it, too.
    writeFileSync(`/proc/${pid}/autogroup`, String(constants.priority.PRIORITY_HIGHEST));
  } catch {
    // Only root may, and not each Linux has such groups. On a machine that has time to spare, nothing is different.
  }
}
