// A disk is nearly full: writes are about to fail, so somebody is woken, and not told twice.
import type { AlertDrill } from "../drill.ts";
import { fullDisk } from "../faults/full-disk.ts";

export const diskAlmostFull: AlertDrill = {
  kind: "alert",
  name: "disk-almost-full",
  alert: "DiskAlmostFull",
  severity: "page",
  shows: "a disk that is nearly full wakes somebody, whom its ticket does not tell once more",
  fault: "a file fills 97 % of a small disk",
  mitigation: "the file is removed",
  ...fullDisk(0.97),
  inhibits: ["DiskUsageHigh"],
  customersSee: "nothing",
};
