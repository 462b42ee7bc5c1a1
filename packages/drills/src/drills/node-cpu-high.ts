// A machine whose processors are all in use. It takes a machine that has some time to spare before and after.
import type { AlertDrill } from "../drill.ts";
import { burnProcessors } from "../faults/busy-processors.ts";
import { startNodeExporter } from "../programs/node-exporter.ts";

export const nodeCpuHigh: AlertDrill = {
  kind: "alert",
  name: "node-cpu-high",
  alert: "NodeCpuHigh",
  severity: "ticket",
  shows: "a machine whose processors are all busy is told, and wakes nobody",
  fault: "programs of the lowest priority use all processors of this machine",
  mitigation: "the programs are ended",
  programs: ["node_exporter"],
  inhibits: [],
  wakesNobody: true,
  async prepare({ program, defer, keepLog }) {
    const exporter = await startNodeExporter({
      path: program("node_exporter"),
      collectors: ["cpu"],
    });
    defer(exporter.stop);
    keepLog("node_exporter", exporter.log);
    return [{ job: "node", address: exporter.address }];
  },
  async inject({ defer }) {
    const end = burnProcessors();
    defer(end);
    return end;
  },
};
