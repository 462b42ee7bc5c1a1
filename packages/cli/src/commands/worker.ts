// `ectus worker`: runs exports apart from the API until it is told to stop.
import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { type InstanceFlags, readInstanceConfig, withInstanceFlags } from "../instance-config.ts";
import { print } from "../output.ts";
import { runProcess } from "../run-process.ts";
import { startWorker, type Worker } from "../worker.ts";

export function addWorker(program: Command, context: CommandContext): void {
  withInstanceFlags(program.command("worker"))
    .description("run exports apart from the API, until Ctrl-C")
    .addHelpText(
      "after",
      `
Beside an instance with an embedded database, it uses that. Several workers may run; an export that one leaves or loses is
taken up by another. EXPORTS_ENABLED=false keeps the instance itself from running any.
With --json, an object with "database" and "metricsUrl" is printed when the worker is ready; logs go to standard error.

Examples:
  ectus worker
  METRICS_PORT=9092 ectus worker --data-dir /var/lib/ectus`,
    )
    .action((flags: InstanceFlags) => {
      const instance = readInstanceConfig(context, flags);
      return runProcess({
        context,
        instance,
        flags,
        start: (logging, signal) => startWorker({ instance, signal, logging }),
        onReady({ database, metricsUrl = null }) {
          print(context, flags, { object: "worker", database, metricsUrl, data_dir: instance.dataDir }, () =>
            welcome(database, metricsUrl),
          );
        },
      });
    });
}

const databases: Readonly<Record<Worker["database"], string>> = {
  external: "the database that DATABASE_URL names",
  running: "the embedded database of the instance that runs here",
  started: "the embedded database of this folder",
};

function welcome(database: Worker["database"], metricsUrl: string | null): string {
  const metrics = metricsUrl === null ? "" : `\nMetrics for Prometheus are at ${metricsUrl}.`;
  return `\nThis worker runs exports of ${databases[database]}.${metrics}\n\nCtrl-C stops it; what it is at, another worker goes on with.\n`;
}
