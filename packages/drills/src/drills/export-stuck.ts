// The worker hangs while it is at an export.
import type { AlertDrill } from "../drill.ts";
import { startExport } from "../faults/running-export.ts";
import { withPrepared } from "../prepared.ts";

export const exportStuck: AlertDrill = {
  kind: "alert",
  name: "export-stuck",
  alert: "ExportStuck",
  severity: "ticket",
  shows: "an export that does not get on is told, and another worker ends it",
  fault: "the worker of exports is suspended while it is at one",
  mitigation: "the worker is killed and started again, and takes the export up",
  programs: [],
  inhibits: [],
  instance: {
    environment: {
      // By the worker only.
      EXPORTS_ENABLED: "false",
      // Slow enough to be met on its way.
      EXPORT_BYTES_PER_SECOND: "1000000",
    },
  },
  customersSee: "nothing",
  wakesNobody: true,
  // Four hours are ten seconds.
  detectWithinMs: 60_000,
  ...withPrepared(
    async ({ startWorker }) => {
      const worker = await startWorker();
      return { thing: worker, targets: [{ job: "ectus", address: worker.metricsAddress }] };
    },
    async (worker, { instance, signal }) => {
      await startExport(instance, signal);
      process.kill(worker.pid, "SIGSTOP");
      return async () => {
        await worker.kill();
        await worker.start();
      };
    },
  ),
};
