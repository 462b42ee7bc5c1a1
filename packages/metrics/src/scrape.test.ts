import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Counter } from "./counter.ts";
import type { Format } from "./exposition/format.ts";
import { Gauge } from "./gauge.ts";
import { Histogram } from "./histogram.ts";
import { Registry } from "./registry.ts";
import { type ScrapeOptions, scrape } from "./scrape.ts";

const text: Format = { kind: "text", version: "0.0.4", escaping: "underscores" };

async function textOf(registry: Registry, options: Partial<ScrapeOptions> = {}): Promise<string> {
  let all = "";
  for await (const chunk of scrape(registry, { format: text, ...options }))
    all += Buffer.from(chunk).toString();
  return all;
}

/** A clock that a slice sees moving on by this much each time it looks. */
function clock(stepMs: number): () => number {
  let nowMs = 0;
  return () => (nowMs += stepMs);
}

/** How often the event loop turned until a promise settled. */
async function turnsDuring(promise: Promise<unknown>): Promise<number> {
  let turns = 0;
  let isOver = false;
  const count = () => {
    if (isOver) return;
    turns += 1;
    setImmediate(count);
  };
  setImmediate(count);
  await promise.finally(() => {
    isOver = true;
  });
  return turns;
}

function createHistogram(registry: Registry, series: number): Histogram<"n"> {
  const histogram = new Histogram({
    name: "h_seconds",
    help: "H.",
    labelNames: ["n"],
    buckets: [1, 2, 3],
    maxSeries: series,
    registers: [registry],
  });
  for (let n = 0; n < series; n += 1) histogram.observe({ n: String(n) }, n % 5);
  return histogram;
}

interface Point {
  readonly buckets: number[];
  sum?: number;
  count?: number;
}

/** The histogram's numbers by its label n. */
function pointsOf(exposition: string): Map<string, Point> {
  const points = new Map<string, Point>();
  for (const [, suffix, labels = "", value] of exposition.matchAll(/^h_seconds_(\w+)\{(.*)\} (.*)$/gm)) {
    const n = /n="(\d+)"/.exec(labels)?.[1] as string;
    const point = points.get(n) ?? { buckets: [] };
    points.set(n, point);
    if (suffix === "bucket") point.buckets.push(Number(value));
    else point[suffix as "sum" | "count"] = Number(value);
  }
  return points;
}

describe("slices", () => {
  test("the event loop turns in between, the more often the more series there are", async () => {
    for (const series of [500, 2000]) {
      const registry = new Registry();
      createHistogram(registry, series);
      // 44 series of about 170 bytes are written between two looks at the clock, and 1 ms makes a slice.
      const turns = await turnsDuring(textOf(registry, { nowMs: clock(1) }));
      expect(turns).toBeGreaterThanOrEqual(series / 50);
      expect(turns).toBeLessThan(series / 30 + 5);
    }
  });

  test("long labels and many native buckets count, too, in each format", async () => {
    const registry = new Registry();
    const registers = [registry];
    const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a"], registers });
    for (let n = 0; n < 100; n += 1) gauge.set({ a: "x".repeat(9000) + n }, 1);
    const kinds = ["text", "openmetrics", "protobuf"] as const;
    const turns = (kind: (typeof kinds)[number]) =>
      turnsDuring(textOf(registry, { nowMs: clock(1), format: { ...text, kind } as Format }));
    for (const kind of kinds) expect(await turns(kind), kind).toBeGreaterThanOrEqual(100);

    registry.clear();
    const native = { factor: 1.005, maxBuckets: 10_000 };
    const histogram = new Histogram({
      name: "h",
      help: "H.",
      labelNames: ["a"],
      buckets: false,
      native,
      registers,
    });
    for (let n = 0; n < 20; n += 1)
      for (let bucket = 0; bucket < 5000; bucket += 1) histogram.observe({ a: n }, 1.004 ** bucket);
    expect(await turns("protobuf")).toBeGreaterThanOrEqual(20);
  });

  test("no more than is due: a fast scrape of little is two turns", async () => {
    const registry = new Registry();
    createHistogram(registry, 500);
    expect(await turnsDuring(textOf(registry, { nowMs: () => 0 }))).toBeLessThanOrEqual(3);
  });

  test("it turns between metrics without series, too", async () => {
    const registry = new Registry();
    for (let n = 0; n < 100; n += 1)
      new Gauge({ name: `g${n}`, help: "G.", labelNames: ["a"], registers: [registry] });
    expect(await turnsDuring(textOf(registry, { nowMs: clock(1) }))).toBeGreaterThanOrEqual(50);
  });

  test("it turns between collect callbacks", async () => {
    const registry = new Registry();
    for (let n = 0; n < 100; n += 1)
      new Gauge({ name: `g${n}`, help: "G.", labelNames: ["a"], collect: () => {}, registers: [registry] });
    expect(await turnsDuring(textOf(registry, { nowMs: clock(1) }))).toBeGreaterThanOrEqual(100);
  });

  test("scrapes at the same time take turns: one slice in each", async () => {
    const registry = new Registry();
    createHistogram(registry, 500);
    const one = await turnsDuring(textOf(registry, { nowMs: clock(1) }));
    const two = await turnsDuring(
      Promise.all([textOf(registry, { nowMs: clock(1) }), textOf(registry, { nowMs: clock(1) })]),
    );
    expect(two).toBeGreaterThanOrEqual(2 * one - 3);
  });

  test("what is written is given out at the end of the slice", async () => {
    const registry = new Registry();
    createHistogram(registry, 2000);
    const chunks: number[] = [];
    for await (const chunk of scrape(registry, { format: text, nowMs: clock(1) })) chunks.push(chunk.length);
    expect(chunks.length).toBeGreaterThan(3);
    expect(Math.max(...chunks)).toBeLessThanOrEqual(65_536);
  });
});

describe("what changes while it is read", () => {
  test("every histogram is consistent, and never behind what was there before nor ahead of what is there after", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 120 }),
        fc.array(fc.tuple(fc.nat(), fc.double({ min: 0, max: 5, noNaN: true })), {
          minLength: 1,
          maxLength: 60,
        }),
        async (series, observations) => {
          const registry = new Registry();
          const histogram = createHistogram(registry, series);
          let isOver = false;
          const write = () => {
            if (isOver) return;
            for (const [n, value] of observations) histogram.observe({ n: String(n % series) }, value);
            setImmediate(write);
          };
          let before = pointsOf(await textOf(registry));
          setImmediate(write);
          for (let round = 0; round < 3; round += 1) {
            const during = pointsOf(await textOf(registry, { nowMs: clock(1) }));
            expect(during.size).toBe(series);
            for (const [n, { buckets, count, sum }] of during) {
              expect(buckets).toHaveLength(4);
              expect(buckets).toEqual(buckets.toSorted((one, other) => one - other));
              expect(count).toBe(buckets[3]);
              expect(count).toBeGreaterThanOrEqual(before.get(n)?.count as number);
              expect(sum).toBeGreaterThanOrEqual(before.get(n)?.sum as number);
            }
            before = during;
          }
          isOver = true;
          for (const [n, { count }] of pointsOf(await textOf(registry)))
            expect(count).toBeGreaterThanOrEqual(before.get(n)?.count as number);
        },
      ),
      { numRuns: 25 },
    );
  });

  test("a series that is removed and made again meanwhile is not shown twice", async () => {
    const registry = new Registry();
    const histogram = createHistogram(registry, 400);
    const iteration = scrape(registry, { format: text, nowMs: clock(1) });
    let all = "";
    for (let step = 0; ; step += 1) {
      const { value, done } = await iteration.next();
      if (done) break;
      all += Buffer.from(value).toString();
      if (step > 0) continue;
      histogram.remove({ n: "0" });
      histogram.remove({ n: "399" });
      for (const n of ["0", "399", "400"]) histogram.observe({ n }, 1);
    }
    const counts = all.match(/^h_seconds_count.*$/gm) ?? [];
    expect(new Set(counts).size).toBe(counts.length);
    expect(all).toContain('h_seconds_count{n="0"} 1\n');
    expect(all).not.toContain('n="399"');
    expect(all).not.toContain('n="400"');
    expect(await textOf(registry)).toContain('h_seconds_count{n="399"} 1\n');
  });

  test("metrics and series that are removed meanwhile are no error", async () => {
    const registry = new Registry();
    const histogram = createHistogram(registry, 400);
    new Counter({ name: "c_total", help: "C.", registers: [registry] });
    const iteration = scrape(registry, { format: text, nowMs: clock(1) });
    await iteration.next();
    histogram.reset();
    registry.clear();
    let rest = "";
    for await (const chunk of iteration) rest += Buffer.from(chunk).toString();
    expect(rest).toContain("c_total 0\n");
  });

  test("series are shown in the order in which they were made", async () => {
    const registry = new Registry();
    const counter = new Counter({ name: "c_total", help: "C.", labelNames: ["a"], registers: [registry] });
    for (const a of ["1", "2", "3"]) counter.inc({ a });
    counter.remove({ a: "1" });
    counter.inc({ a: "4" });
    counter.inc({ a: "1" });
    expect((await textOf(registry)).match(/a="."/g)).toEqual(['a="2"', 'a="3"', 'a="4"', 'a="1"']);
  });
});

test("the signal ends it", async () => {
  const registry = new Registry();
  createHistogram(registry, 400);
  await expect(textOf(registry, { signal: AbortSignal.abort(new Error("gone")) })).rejects.toThrow("gone");

  const controller = new AbortController();
  const iteration = scrape(registry, { format: text, nowMs: clock(1), signal: controller.signal });
  await iteration.next();
  controller.abort(new Error("gone away"));
  await expect(iteration.next()).rejects.toThrow("gone away");
  expect(await iteration.next()).toEqual({ done: true, value: undefined });
});

test("a native histogram without classic buckets has its count, its sum and one bucket", async () => {
  const registry = new Registry();
  const histogram = new Histogram({
    name: "h_seconds",
    help: "H.",
    labelNames: ["n"],
    buckets: false,
    native: { factor: 1.1 },
    registers: [registry],
  });
  histogram.observe({ n: "1" }, 0.5);
  histogram.observe({ n: "1" }, 3);
  expect((await textOf(registry)).replaceAll(/^#.*\n/gm, "")).toBe(
    'h_seconds_bucket{le="+Inf",n="1"} 2\nh_seconds_sum{n="1"} 3.5\nh_seconds_count{n="1"} 2\n',
  );
});
