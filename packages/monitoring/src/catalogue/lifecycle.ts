// What happens to customers' data over their time: exports first.
import { counter, gauge, histogram, oneOf } from "./entry.ts";

export const lifecycleCatalogue = {
  export_jobs_total: counter({
    help: "Runs of exports that ended. `left`: to be taken up again, by this worker or another; `superseded`: deleted, or taken over by another worker.",
    labels: { outcome: oneOf("ready", "failed", "left", "superseded") },
    usedBy: ["alert ExportFailed"],
  }),
  export_job_duration_seconds: histogram({
    help: "Time of a run of an export that ended with a bag.",
    unit: "seconds",
    labels: {},
    buckets: [1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400],
    bucketsWhy: "from an empty tenant to hours for hundreds of gigabytes at the default rate",
    native: true,
    usedBy: ["dashboard lifecycle"],
  }),
  export_jobs_active: gauge({
    help: "Exports that this process is at.",
    labels: {},
    usedBy: ["dashboard lifecycle"],
  }),
  export_oldest_running_seconds: gauge({
    help: "Since when the oldest export that is not finished waits or runs, over all processes; 0 if there is none.",
    unit: "seconds",
    labels: {},
    usedBy: ["alert ExportStuck"],
  }),
  export_bytes_total: counter({
    help: "Bytes of rows, before compression, and of files that exports wrote.",
    unit: "bytes",
    labels: {},
    usedBy: ["dashboard lifecycle"],
  }),
} as const;
