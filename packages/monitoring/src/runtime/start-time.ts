// When the process began.
import { performance } from "node:perf_hooks";
import type { Instruments } from "../instruments.ts";
import { withdraw } from "./withdraw.ts";

/** Returns how to end it. */
export function showStartTime(instruments: Instruments): () => void {
  const gauge = instruments.gauge("process_start_time_seconds");
  gauge.labels({}).set(performance.timeOrigin / 1000);
  return () => withdraw(gauge);
}
