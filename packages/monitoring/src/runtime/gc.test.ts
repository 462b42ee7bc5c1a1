import { constants, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { createShown, type Shown } from "../testing/shown.ts";
import { observeGc } from "./gc.ts";

const name = "nodejs_gc_duration_seconds";

let shown: Shown;
let stop: () => void;

beforeEach(() => {
  shown = createShown();
  stop = observeGc(shown.instruments);
});

afterEach(() => stop());

function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

const count = (kind: string) => shown.value(`${name}_count{kind="${kind}"}`);

describe("garbage collections", () => {
  test("have a series of each kind, also of those that never happen", async () => {
    // Some may have happened by now.
    const series = [...(await shown.scrape()).keys()];
    for (const kind of ["major", "minor", "incremental", "weakcb"])
      expect(series).toContain(`${name}_count{kind="${kind}"}`);
  });

  test("are counted when young objects are thrown away", async () => {
    let kept: unknown;
    await until(async () => {
      for (let index = 0; index < 100_000; index += 1) kept = { index, kept: `${index}` };
      return (await count("minor")) > 0;
    });
    expect(kept).toBeDefined();
    expect(await shown.value(`${name}_sum{kind="minor"}`)).toBeGreaterThan(0);
  });

  test("are all counted, of several that are told of at once", async () => {
    const collect = collector();
    let majors = 0;
    let mostAtOnce = 0;
    const witness = new PerformanceObserver((list) => {
      const entries = list.getEntries() as (PerformanceEntry & {
        readonly detail: { readonly kind: number };
      })[];
      majors += entries.filter(({ detail }) => detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR).length;
      mostAtOnce = Math.max(mostAtOnce, entries.length);
    });
    witness.observe({ entryTypes: ["gc"] });
    const startedMs = performance.now();
    for (let times = 0; times < 5; times += 1) collect();
    await until(async () => majors >= 5 && (await count("major")) === majors);
    const tookSeconds = (performance.now() - startedMs) / 1000;
    witness.disconnect();
    expect(mostAtOnce).toBeGreaterThanOrEqual(5);
    const sum = await shown.value(`${name}_sum{kind="major"}`);
    expect(sum).toBeGreaterThan(0);
    expect(sum).toBeLessThanOrEqual(tookSeconds);
  });

  test("are not counted after the end", async () => {
    stop();
    collector()();
    await new Promise((resolve) => setImmediate(resolve));
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });
});
