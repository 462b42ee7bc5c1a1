import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { createShown } from "../testing/shown.ts";
import { readCpuLimit, readMemoryLimit, showLimits } from "./limits.ts";

/** A folder with these files, in place of the system's. */
async function systemOf(files: Readonly<Record<string, string>>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "ectus-limits-"));
  onTestFinished(() => rm(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

const onFour = { "proc/self/status": "Name:\tnode\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n" };

describe("the limits of a process", () => {
  test("are shown, and gone after the end", async () => {
    const shown = createShown();
    const end = showLimits(shown.instruments);
    expect(await shown.value("process_memory_limit_bytes")).toBe(readMemoryLimit());
    expect(await shown.value("process_cpu_limit_cores")).toBeGreaterThan(0);
    expect(await shown.value("process_cpu_limit_cores")).toBeLessThanOrEqual(
      Math.max(availableParallelism(), readCpuLimit()),
    );
    end();
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });

  test("are those that somebody says, where somebody does", async () => {
    const shown = createShown();
    const end = showLimits(shown.instruments, { memoryLimitBytes: 512_000_000 });
    expect(await shown.value("process_memory_limit_bytes")).toBe(512_000_000);
    end();
  });
});

describe("the limit of memory", () => {
  test("is the control group's", () => expect(readMemoryLimit(1_000, 2_000)).toBe(1_000));
  test("is the machine's memory where there is no other, or one above it", () => {
    // What Node.js says without a limit, and where it does not know.
    for (const none of [18_446_744_073_709_552_000, 0, 3_000])
      expect(readMemoryLimit(none, 2_000)).toBe(2_000);
    expect(readMemoryLimit()).toBeLessThanOrEqual(totalmem());
  });
});

describe("the limit of processors", () => {
  test.each([
    ["is those that the process may run on", { ...onFour }, 4],
    ["counts a mask of several words", { "proc/self/status": "Cpus_allowed:\tff,0000000f\n" }, 12],
    [
      "is the quota of a container, also below one",
      { ...onFour, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n" },
      0.5,
    ],
    [
      "is no quota where there is none",
      { ...onFour, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n" },
      4,
    ],
    [
      "is the least quota of the groups above a service",
      {
        ...onFour,
        "proc/self/cgroup": "0::/system.slice/ectus.service\n",
        "sys/fs/cgroup/system.slice/ectus.service/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
      },
      1.5,
    ],
    [
      "is the processors where the quota is more",
      { ...onFour, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n" },
      4,
    ],
    [
      "is the quota of a first-generation group",
      {
        ...onFour,
        "proc/self/cgroup": "2:cpuacct:/\n1:cpu:/\n0::/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
      },
      2.5,
    ],
    [
      "is no quota of a first-generation group without one",
      {
        ...onFour,
        "proc/self/cgroup": "3:cpu,cpuacct:/docker/1\n",
        "sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us": "100000\n",
      },
      4,
    ],
  ])("%s", async (_, files: Readonly<Record<string, string>>, cores) => {
    expect(readCpuLimit(await systemOf(files))).toBe(cores);
  });

  test("is what Node.js says where there are no such files", async () => {
    expect(readCpuLimit(await systemOf({}))).toBe(availableParallelism());
  });
});
