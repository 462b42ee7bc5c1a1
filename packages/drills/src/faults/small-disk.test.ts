import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer } from "@ectus/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startSmallDisk } from "./small-disk.ts";

const program = await peer("node-exporter");
const path = program?.files.node_exporter ?? "";

describe.skipIf(!program)("a small disk", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ectus-small-disk-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test("is as full as it is filled, for node_exporter and nobody else, and is gone in the end", async () => {
    const disk = await startSmallDisk({ path, folder });
    const used = async (): Promise<number> => {
      const text = await (await fetch(`http://${disk.address}/metrics`)).text();
      const bytes = (what: string): number => {
        const lines = text.split("\n").filter((line) => line.startsWith(`node_filesystem_${what}_bytes{`));
        expect(lines).toEqual([expect.stringContaining(`mountpoint="${disk.mountPoint}"`)]);
        return Number(lines[0]?.split(" ").at(-1));
      };
      return 1 - bytes("avail") / bytes("size");
    };
    try {
      expect(await used()).toBe(0);
      await disk.fill(0.9);
      expect(await used()).toBeCloseTo(0.9, 2);
      await disk.fill(0.97);
      expect(await used()).toBeCloseTo(0.97, 2);
      await disk.clear();
      expect(await used()).toBe(0);
      await disk.fill(0.5);
      expect(await readdir(disk.mountPoint)).toEqual([]);
      expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(disk.mountPoint);
    } finally {
      await disk.stop();
    }
    await expect(disk.fill(0.1)).rejects.toThrow("ENOENT");
  });

  test("that cannot be had says what it takes", async () => {
    await expect(startSmallDisk({ path: join(folder, "nothing"), folder })).rejects.toMatchObject({
      code: "program_failed",
      message: expect.stringMatching(/This takes Linux with util-linux, and root or .*nothing/s),
    });
  });
});
