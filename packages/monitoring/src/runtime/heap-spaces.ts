// The spaces of V8's heap.
import { getHeapSpaceStatistics } from "node:v8";
import type { Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showHeapSpaces(instruments: Instruments): () => void {
  const total = instruments.gauge("nodejs_heap_space_size_total_bytes", () => {
    for (const statistics of getHeapSpaceStatistics()) {
      const labels = { space: statistics.space_name.replace(/_space$/, "") };
      total.labels(labels).set(statistics.space_size);
      used.labels(labels).set(statistics.space_used_size);
      available.labels(labels).set(statistics.space_available_size);
    }
  });
  const used = instruments.gauge("nodejs_heap_space_size_used_bytes");
  const available = instruments.gauge("nodejs_heap_space_size_available_bytes");
  return () => withdraw(total, used, available);
}
