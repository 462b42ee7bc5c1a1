import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer } from "@ectus/peers";
import { describe, expect, test } from "vitest";
import { mountSmallDisk } from "../../../../tests/storage/small-disk.ts";
import { startNodeExporter } from "./node-exporter.ts";

const program = await peer("node-exporter");
const path = program?.files.node_exporter ?? "";

const read = async (address: string): Promise<string> => (await fetch(`http://${address}/metrics`)).text();

describe.skipIf(!program)("node_exporter", () => {
  test("a small disk is told, and no other", async ({ skip }) => {
    const folder = await mkdtemp(join(tmpdir(), "ectus-small-disk-"));
    const unmount = mountSmallDisk(folder);
    try {
      if (unmount === undefined) return skip("this user may not mount");
      const exporter = await startNodeExporter({
        path,
        collectors: ["filesystem"],
        mountPoints: `^${folder}$`,
      });
      try {
        const text = await read(exporter.address);
        const sizes = text.split("\n").filter((line) => line.startsWith("node_filesystem_size_bytes{"));
        expect(sizes).toEqual([expect.stringMatching(`mountpoint="${folder}".* 1.048576e[+]06$`)]);
        expect(text).not.toContain("node_cpu_seconds_total");
      } finally {
        await exporter.stop();
      }
    } finally {
      unmount?.();
      await rm(folder, { recursive: true });
    }
  });

  test("without a choice it tells of processors and memory", async () => {
    const exporter = await startNodeExporter({ path });
    try {
      expect(await read(exporter.address)).toMatch(
        /node_cpu_seconds_total\{[\s\S]*node_memory_MemAvailable_bytes \d/,
      );
    } finally {
      await exporter.stop();
    }
  });

  test("a wrong flag is told in its own words", async () => {
    await expect(startNodeExporter({ path, collectors: ["nonesuch"] })).rejects.toMatchObject({
      code: "program_failed",
      message: expect.stringContaining("unknown long flag '--collector.nonesuch'"),
    });
  });
});
