// A machine hangs: it takes connections, and answers nothing.
import type { AlertDrill } from "../drill.ts";
import { withPrepared } from "../prepared.ts";
import { startNodeExporter } from "../programs/node-exporter.ts";

export const nodeDown: AlertDrill = {
  kind: "alert",
  name: "node-down",
  alert: "NodeDown",
  severity: "page",
  shows: "a machine that does not answer any more wakes somebody",
  fault: "node_exporter is suspended, as it is on a machine that hangs",
  mitigation: "it goes on",
  programs: ["node_exporter"],
  inhibits: [],
  customersSee: "nothing",
  ...withPrepared(
    async ({ program, defer, keepLog }) => {
      const exporter = await startNodeExporter({ path: program("node_exporter"), collectors: ["loadavg"] });
      defer(exporter.stop);
      keepLog("node_exporter", exporter.log);
      return { thing: exporter, targets: [{ job: "node", address: exporter.address }] };
    },
    async ({ pid }) => {
      process.kill(pid, "SIGSTOP");
      return async () => void process.kill(pid, "SIGCONT");
    },
  ),
};
