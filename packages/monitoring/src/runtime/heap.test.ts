import { getHeapSpaceStatistics } from "node:v8";
import { describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { catalogue } from "../catalogue.ts";
import { createShown } from "../testing/shown.ts";
import { showHeap } from "./heap.ts";
import { showHeapSpaces } from "./heap-spaces.ts";

describe("the heap", () => {
  test("is as large as process.memoryUsage says, and so is what it holds outside", async () => {
    const shown = createShown();
    const end = showHeap(shown.instruments);
    const kept = Buffer.alloc(50_000_000);
    // Again, if there was a garbage collection between the two.
    await until(async () => {
      const values = await shown.scrape();
      const { heapTotal, heapUsed, external } = process.memoryUsage();
      const isNear = (name: string, bytes: number) =>
        Math.abs((values.get(name) ?? Number.NaN) - bytes) < bytes / 10;
      return (
        isNear("nodejs_heap_size_total_bytes", heapTotal) &&
        isNear("nodejs_heap_size_used_bytes", heapUsed) &&
        isNear("nodejs_external_memory_bytes", external)
      );
    });
    expect(await shown.value("nodejs_external_memory_bytes")).toBeGreaterThan(kept.length);
    end();
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });

  test("has all spaces of V8, within the bound of the catalogue, and they add up to it", async () => {
    const shown = createShown();
    const ends = [showHeap(shown.instruments), showHeapSpaces(shown.instruments)];
    const values = await shown.scrape();
    for (const end of ends) end();
    const spaces = getHeapSpaceStatistics().map(({ space_name }) => space_name.replace("_space", ""));
    const { space } = catalogue.nodejs_heap_space_size_total_bytes.labels;
    expect(spaces.length).toBeLessThan(space.atMost);
    let used = 0;
    for (const name of spaces) {
      const labels = `{space="${name}"}`;
      expect(values.get(`nodejs_heap_space_size_total_bytes${labels}`)).toBeGreaterThanOrEqual(0);
      expect(values.get(`nodejs_heap_space_size_available_bytes${labels}`)).toBeGreaterThanOrEqual(0);
      used += values.get(`nodejs_heap_space_size_used_bytes${labels}`) ?? Number.NaN;
    }
    const whole = values.get("nodejs_heap_size_used_bytes") ?? Number.NaN;
    expect(Math.abs(used - whole)).toBeLessThan(whole / 5);
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });
});
