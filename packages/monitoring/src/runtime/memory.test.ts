import { describe, expect, test } from "vitest";
import { createShown } from "../testing/shown.ts";
import { showMemory } from "./memory.ts";

const resident = "process_resident_memory_bytes";

describe("the process's memory", () => {
  test("rises with what is allocated", async () => {
    const shown = createShown();
    const end = showMemory(shown.instruments);
    const before = await shown.value(resident);
    const kept = Buffer.alloc(200_000_000, 1);
    expect((await shown.value(resident)) - before).toBeGreaterThan(kept.length / 2);
    end();
  });

  test("without /proc, is its resident memory only", async () => {
    const shown = createShown();
    const end = showMemory(shown.instruments, null);
    const values = await shown.scrape();
    expect([...values.keys()]).toEqual([resident]);
    const rss = process.memoryUsage.rss();
    expect(Math.abs((values.get(resident) ?? 0) - rss)).toBeLessThan(rss / 5);
    end();
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });

  test("has no old values where its file cannot be read any more", async () => {
    const shown = createShown();
    let text = "VmSize:\t  2000 kB\nVmRSS:\t  1000 kB\nVmData:\t  500 kB\n";
    const end = showMemory(shown.instruments, { read: () => text, close() {} });
    expect(Object.fromEntries(await shown.scrape())).toEqual({
      process_resident_memory_bytes: 1_024_000,
      process_virtual_memory_bytes: 2_048_000,
      process_heap_bytes: 512_000,
    });
    text = "";
    const failed: string[] = [];
    const output = await shown.registry.metrics({ onCollectError: (metric) => failed.push(metric) });
    expect(failed).toEqual([resident]);
    expect(output).not.toMatch(/^process/m);
    end();
  });
});
