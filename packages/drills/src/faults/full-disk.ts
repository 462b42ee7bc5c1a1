// A small disk that a file fills.
import type { Drill } from "../drill.ts";
import { withPrepared } from "../prepared.ts";
import { startSmallDisk } from "./small-disk.ts";

/** @param share of the disk that is used once the file is there */
export const fullDisk = (share: number): Pick<Drill, "programs" | "prepare" | "inject"> => ({
  programs: ["node_exporter"],
  ...withPrepared(
    async ({ program, folder, defer, keepLog }) => {
      const disk = await startSmallDisk({ path: program("node_exporter"), folder });
      defer(disk.stop);
      keepLog("node_exporter", disk.log);
      return { thing: disk, targets: [{ job: "node", address: disk.address }] };
    },
    async (disk) => {
      await disk.fill(share);
      return disk.clear;
    },
  ),
});
