// What is measured of exports: those that this process runs, and the oldest that anybody has to finish.
import {
  type CounterHandle,
  currentExemplar,
  type GaugeHandle,
  type Instruments,
  type LabelsOf,
} from "@ectus/monitoring";
import type { Database } from "./database.ts";
import { oldestUnfinishedExport } from "./queries/exports.ts";

export interface ExportMetrics {
  readonly active: GaugeHandle;
  readonly bytes: CounterHandle;
  ready(seconds: number): void;
  ended(outcome: Exclude<LabelsOf<"export_jobs_total">["outcome"], "ready">): void;
  close(): void;
}

interface Measured {
  readonly instruments: Instruments;
  readonly database: Database;
}

export function exportMetrics({ instruments, database }: Measured): ExportMetrics {
  const jobs = instruments.counter("export_jobs_total");
  // An increase can only be seen in what was there before.
  for (const outcome of ["ready", "failed", "left", "superseded"] as const) jobs.labels({ outcome }).inc(0);
  const duration = instruments.histogram("export_job_duration_seconds");
  const active = instruments.gauge("export_jobs_active");
  active.labels({}).set(0);
  return {
    active: active.labels({}),
    bytes: instruments.counter("export_bytes_total").labels({}),
    ready(seconds) {
      jobs.labels({ outcome: "ready" }).inc();
      duration.labels({}).observe(seconds, currentExemplar());
    },
    ended: (outcome) => jobs.labels({ outcome }).inc(),
    close: measureOldestExport({ instruments, database }),
  };
}

/**
 * Has a scrape show for how long the oldest export waits or runs: also of a process that runs none, which is the one to
 * tell when no worker is there. Gives how to end that.
 */
export function measureOldestExport({ instruments, database }: Measured): () => void {
  const oldest = instruments.gauge("export_oldest_running_seconds", async () => {
    const { seconds } = await oldestUnfinishedExport(database);
    oldest.labels({}).set(seconds);
  });
  return () => oldest.stopCollecting();
}
