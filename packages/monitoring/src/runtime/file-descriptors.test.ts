import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { createShown } from "../testing/shown.ts";
import { showFileDescriptors } from "./file-descriptors.ts";

const isLinux = process.platform === "linux";
const open = "process_open_fds";

function openFiles(count: number): () => void {
  const files = Array.from({ length: count }, () => openSync("/dev/null", "r"));
  return () => {
    for (const file of files) closeSync(file);
  };
}

describe.runIf(isLinux)("file descriptors", () => {
  // The size of the first folder tells how many there are, of the second one the names have to be counted, as on a
  // Linux before 6.2.
  for (const folder of ["/proc/self/fd", "/proc/self/fdinfo"]) {
    test(`that are opened and closed are seen in ${folder}`, async () => {
      const shown = createShown();
      const end = showFileDescriptors(shown.instruments, folder);
      const before = await shown.value(open);
      const close = openFiles(500);
      const during = await shown.value(open);
      close();
      // Others may come and go at the same time.
      expect(Math.abs(during - before - 500)).toBeLessThan(20);
      expect(Math.abs((await shown.value(open)) - before)).toBeLessThan(20);
      end();
      expect([...(await shown.scrape()).keys()]).toEqual([]);
    });
  }

  test("are as many whichever way they are counted", async () => {
    const [bySize, byNames] = [createShown(), createShown()];
    showFileDescriptors(bySize.instruments, "/proc/self/fd");
    showFileDescriptors(byNames.instruments, "/proc/self/fdinfo");
    await until(async () => (await bySize.value(open)) === (await byNames.value(open)));
  });

  test("may be as many as the shell says that this process hands down", async () => {
    const shown = createShown();
    showFileDescriptors(shown.instruments);
    const limit = execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" }).trim();
    expect(await shown.value("process_max_fds")).toBe(
      limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit),
    );
  });
});

test("where open files cannot be seen there is no series of them", async () => {
  const shown = createShown();
  const end = showFileDescriptors(shown.instruments, "/proc/none");
  expect((await shown.scrape()).has(open)).toBe(false);
  expect(shown.registry.getSingleMetric(open)).toBeUndefined();
  end();
});
