// Memory of the process, as the operating system counts it.
import type { Instruments } from "../instruments.ts";
import { openProcFile, type ProcFile } from "./proc-file.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showMemory(
  instruments: Instruments,
  status: ProcFile | null = openProcFile("/proc/self/status"),
): () => void {
  if (status === null) {
    const resident = instruments.gauge("process_resident_memory_bytes", () => {
      resident.labels({}).set(process.memoryUsage.rss());
    });
    return () => withdraw(resident);
  }
  const resident = instruments.gauge("process_resident_memory_bytes", () => {
    try {
      const text = status.read();
      resident.labels({}).set(bytesOf(text, "VmRSS"));
      virtual.labels({}).set(bytesOf(text, "VmSize"));
      heap.labels({}).set(bytesOf(text, "VmData"));
    } catch (error) {
      for (const gauge of [resident, virtual, heap]) gauge.clear();
      throw error;
    }
  });
  const virtual = instruments.gauge("process_virtual_memory_bytes");
  const heap = instruments.gauge("process_heap_bytes");
  return () => {
    withdraw(resident, virtual, heap);
    status.close();
  };
}

/** @throws Error when the line is not there */
function bytesOf(status: string, name: string): number {
  const kibibytes = new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(status)?.[1];
  if (kibibytes === undefined) throw new Error(`/proc/self/status has no ${name}`);
  return Number(kibibytes) * 1024;
}
