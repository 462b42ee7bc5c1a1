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
import { showMemory } from "./runtime/memory.ts";
import { showStartTime } from "./runtime/start-time.ts";
import { showVersion } from "./runtime/version.ts";

export interface RuntimeMetrics {
  /**
   * For whoever blocks the event loop to serve a scrape: called before, it gives what to call after. The event-loop lag
   * leaves out what is between. That should be work, not waiting: nothing else is seen in that time either.
   *
   *     const resumeLag = pauseLag();
   *     try {
   *       await chunks.next();
   *     } finally {
   *       resumeLag();
   *     }
   */
  readonly pauseLag: PauseLag;
  /** Ends all of it; the metrics have no series any more. They can be started again. */
  stop(): void;
}

export type PauseLag = () => () => void;

/** One at a time for the same instruments. */
export function startRuntimeMetrics({ instruments }: { readonly instruments: Instruments }): RuntimeMetrics {
  if (!instruments.enabled) return { pauseLag: () => () => {}, stop() {} };
  const lag = showEventLoopLag(instruments);
  const ends = [
    showCpu(instruments),
    showStartTime(instruments),
    showMemory(instruments),
    showFileDescriptors(instruments),
    lag.stop,
    observeEventLoopUtilization(instruments),
    showActiveResources(instruments),
    showHeap(instruments),
    showHeapSpaces(instruments),
    showVersion(instruments),
    observeGc(instruments),
  ];
  return {
    pauseLag: lag.pause,
    stop() {
      for (const end of ends) end();
    },
  };
}
