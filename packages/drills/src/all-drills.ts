// Every drill, in the order of the list.
import type { Drill } from "./drill.ts";
import { aiProviderFailing } from "./drills/ai-provider-failing.ts";
import { brokenStreams } from "./drills/broken-streams.ts";
import { cpuHigh } from "./drills/cpu-high.ts";
import { databaseConnectionErrors } from "./drills/database-connection-errors.ts";
import { diskAlmostFull } from "./drills/disk-almost-full.ts";
import { diskUsageHigh } from "./drills/disk-usage-high.ts";
import { errorBudgetBurn } from "./drills/error-budget-burn.ts";
import { eventLoopLag } from "./drills/event-loop-lag.ts";
import { exportStuck } from "./drills/export-stuck.ts";
import { exporterGone } from "./drills/exporter-gone.ts";
import { highErrorRate } from "./drills/high-error-rate.ts";
import { highLatency } from "./drills/high-latency.ts";
import { memoryHigh } from "./drills/memory-high.ts";
import { nodeCpuHigh } from "./drills/node-cpu-high.ts";
import { nodeDown } from "./drills/node-down.ts";
import { podCrashLooping } from "./drills/pod-crash-looping.ts";
import { podOomKilled } from "./drills/pod-oom-killed.ts";
import { poolExhausted } from "./drills/pool-exhausted.ts";
import { processRestarting } from "./drills/process-restarting.ts";
import { serviceDown } from "./drills/service-down.ts";
import { slowQueries } from "./drills/slow-queries.ts";
import { watchdog } from "./drills/watchdog.ts";

export const allDrills: readonly Drill[] = [
  highErrorRate,
  brokenStreams,
  highLatency,
  serviceDown,
  exporterGone,
  processRestarting,
  podCrashLooping,
  podOomKilled,
  databaseConnectionErrors,
  poolExhausted,
  slowQueries,
  aiProviderFailing,
  errorBudgetBurn,
  memoryHigh,
  cpuHigh,
  eventLoopLag,
  nodeCpuHigh,
  nodeDown,
  diskUsageHigh,
  diskAlmostFull,
  exportStuck,
  watchdog,
];
