// File descriptors that are open, and how many may be.
import { readFileSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import type { GaugeOf, Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showFileDescriptors(instruments: Instruments, folder = "/proc/self/fd"): () => void {
  const gauges = [showMax(instruments), showOpen(instruments, folder)].filter((gauge) => gauge !== undefined);
  return () => withdraw(...gauges);
}

type OpenGauge = GaugeOf<"process_open_fds">;

function showOpen(instruments: Instruments, folder: string): OpenGauge | undefined {
  if (statSync(folder, { throwIfNoEntry: false }) === undefined) return undefined;
  return instruments.gauge("process_open_fds", (gauge) => {
    // Since Linux 6.2 the size of this folder is how many there are, in 3 µs; to read the names of 5,000 holds the event
    // loop for 4 ms.
    const { size } = statSync(folder);
    return size > 0 ? gauge.labels({}).set(size) : countNames(gauge, folder);
  });
}

async function countNames(gauge: OpenGauge, folder: string): Promise<void> {
  const names = await readdir(folder);
  // One is that of the folder.
  gauge.labels({}).set(names.length - 1);
}

/** Read once: Node.js raises its limit when it starts, and nobody after that. */
function showMax(instruments: Instruments): GaugeOf<"process_max_fds"> | undefined {
  const max = readMax();
  if (max === undefined) return undefined;
  const gauge = instruments.gauge("process_max_fds");
  gauge.labels({}).set(max);
  return gauge;
}

function readMax(): number | undefined {
  try {
    const soft = /^Max open files\s+(\w+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    if (soft === undefined) return undefined;
    return soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return undefined;
  }
}
