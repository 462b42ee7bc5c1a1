// V8's heap as a whole, and what its objects hold outside of it.
import { getHeapStatistics } from "node:v8";
import type { Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showHeap(instruments: Instruments): () => void {
  const total = instruments.gauge("nodejs_heap_size_total_bytes", () => {
    // What `process.memoryUsage()` gives, which reads a file in /proc for the resident memory, too: 1 µs, not 8.
    const statistics = getHeapStatistics();
    total.labels({}).set(statistics.total_heap_size);
    used.labels({}).set(statistics.used_heap_size);
    external.labels({}).set(statistics.external_memory);
  });
  const used = instruments.gauge("nodejs_heap_size_used_bytes");
  const external = instruments.gauge("nodejs_external_memory_bytes");
  return () => withdraw(total, used, external);
}
