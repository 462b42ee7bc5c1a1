// A disk is filling: there is time, so it is told in business hours.
import type { AlertDrill } from "../drill.ts";
import { fullDisk } from "../faults/full-disk.ts";

export const diskUsageHigh: AlertDrill = {
  kind: "alert",
  name: "disk-usage-high",
  alert: "DiskUsageHigh",
  severity: "ticket",
  shows: "a disk that is filling is told while there is time, and wakes nobody",
  fault: "a file fills 90 % of a small disk",
  mitigation: "the file is removed",
  ...fullDisk(0.9),
  inhibits: [],
  customersSee: "nothing",
  wakesNobody: true,
};
