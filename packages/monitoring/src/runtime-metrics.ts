// Metrics of the process and of Node.js. What the operating system and V8 know is read at each scrape; two timers and an
// observer of garbage collections run in between, until they are stopped. They keep no process from ending.
import type { Instruments } from "./instruments.ts";
import { showActiveResources } from "./runtime/active-resources.ts";
import { showCpu } from "./runtime/cpu.ts";
import { showEventLoopLag } from "./runtime/event-loop-lag.ts";
import { observeEventLoopUtilization } from "./runtime/event-loop-utilization.ts";
import { showFileDescriptors } from "./runtime/file-descriptors.ts";
import { observeGc } from "./runtime/gc.ts";
import { showHeap } from "./runtime/heap.ts";
import { showHeapSpaces } from "./runtime/heap-spaces.ts";
import { type Limits, showLimits } from "./runtime/limits.ts";
import { showMemory } from "./runtime/memory.ts";
import { showStartTime } from "./runtime/start-time.ts";
import { showVersion } from "./runtime/version.ts";

export interface RuntimeMetricsOptions extends Limits {
  readonly instruments: Instruments;
}

/** Returns how to end it: the metrics have no series any more, and can be started again. One at a time. */
export function startRuntimeMetrics({ instruments, ...limits }: RuntimeMetricsOptions): () => void {
  if (!instruments.enabled) return () => {};
  const ends = [
    showCpu(instruments),
    showStartTime(instruments),
    showMemory(instruments),
    showLimits(instruments, limits),
    showFileDescriptors(instruments),
    showEventLoopLag(instruments),
    observeEventLoopUtilization(instruments),
    showActiveResources(instruments),
    showHeap(instruments),
    showHeapSpaces(instruments),
    showVersion(instruments),
    observeGc(instruments),
  ];
  return () => {
    for (const end of ends) end();
  };
}
