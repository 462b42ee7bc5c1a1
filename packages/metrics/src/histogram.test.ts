import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Histogram } from "./histogram.ts";

const create = (enableExemplars = false) =>
  new Histogram({
    name: "h",
    help: "h",
    labelNames: ["a"],
    registers: [],
    buckets: [1, 2, 5],
    enableExemplars,
  });

/** Counts of the buckets, each its own, and the sum. */
function numbersOf({ table }: Pick<Histogram<string>, "table">, slot = 0): number[] {
  return [...table.values.subarray(slot * table.stride, (slot + 1) * table.stride)];
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_500, toFake: ["Date", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("a value is in the first bucket that is not below it, and in the sum", () => {
  const histogram = create();
  for (const value of [-3, 0.5, 1, 1.001, 2, 5, 5.001, 1e9]) histogram.observe({ a: "x" }, value);
  histogram.labels("x").observe(1.5);
  expect(numbersOf(histogram)).toEqual([3, 3, 1, 2, -3 + 0.5 + 1 + 1.001 + 2 + 5 + 5.001 + 1e9 + 1.5]);
});

test("without labels it is there with zeros from the beginning, and again after reset", () => {
  const histogram = new Histogram({ name: "h", help: "h", registers: [], buckets: [1] });
  expect(histogram.table.size).toBe(1);
  histogram.observe(0.5);
  histogram.labels().observe(2);
  expect(numbersOf(histogram)).toEqual([1, 1, 2.5]);
  histogram.reset();
  expect(histogram.table.size).toBe(1);
  expect(numbersOf(histogram)).toEqual([0, 0, 0]);
});

test.each([undefined, null, "5", Number.NaN, Number.POSITIVE_INFINITY, 5n, {}])(
  "%s is refused and counts nothing",
  (value) => {
    const histogram = create();
    const no = value as number;
    expect(() => histogram.observe({ a: "x" }, no)).toThrow(TypeError);
    expect(() => histogram.observe(no)).toThrow(TypeError);
    expect(histogram.table.size).toBe(0);
    expect(() => histogram.labels("x").observe(no)).toThrow(TypeError);
    expect(numbersOf(histogram)).toEqual([0, 0, 0, 0, 0]);
  },
);

test("the default buckets go from 5 ms to 10 s", () => {
  const histogram = new Histogram({ name: "h", help: "h", registers: [] });
  expect(histogram.bounds).toEqual([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]);
});

test.each([
  [[2, 1]],
  [[1, 1]],
  [[Number.NaN]],
  [[Number.NEGATIVE_INFINITY, 1]],
  [[1, Number.POSITIVE_INFINITY, 2]],
])("the buckets %j are refused", (buckets) => {
  expect(() => new Histogram({ name: "h", help: "h", registers: [], buckets })).toThrow(TypeError);
});

test("the bucket +Inf is always there, and may be all", () => {
  const histogram = new Histogram({
    name: "h",
    help: "h",
    registers: [],
    buckets: [Number.POSITIVE_INFINITY],
  });
  histogram.observe(4);
  expect(histogram.bounds).toEqual([]);
  expect(numbersOf(histogram)).toEqual([1, 4]);
});

test("a label le, and a histogram without any buckets, are refused", () => {
  expect(() => new Histogram({ name: "h", help: "h", registers: [], labelNames: ["le"] })).toThrow(TypeError);
  expect(() => new Histogram({ name: "h", help: "h", registers: [], buckets: false })).toThrow(TypeError);
});

test("native buckets get the same values, and go with their series", () => {
  const histogram = new Histogram({
    name: "h",
    help: "h",
    labelNames: ["a"],
    registers: [],
    buckets: [1],
    native: { factor: 1.1 },
  });
  const kept = histogram.labels("x");
  for (const value of [0.5, 3, 3, -3, 0]) kept.observe(value);
  const total = (buckets: { readonly counts: readonly number[] } | undefined) =>
    buckets?.counts.reduce((sum, count) => sum + count, 0);
  expect(total(kept.native?.positive)).toBe(3);
  expect(total(kept.native?.negative)).toBe(1);
  expect(kept.native?.zeroCount).toBe(1);
  histogram.observe({ a: "y" }, 1);
  expect(total(histogram.labels("y").native?.positive)).toBe(1);
  histogram.remove("x");
  expect(kept.native).toBeUndefined();
  expect(total(histogram.labels("z").native?.positive)).toBe(0);
  kept.observe(2);
  expect(total(kept.native?.positive)).toBe(1);
});

test("a look at native buckets makes none", () => {
  const histogram = new Histogram({
    name: "h",
    help: "h",
    labelNames: ["a"],
    registers: [],
    buckets: false,
    native: { factor: 1.1 },
  });
  const { native } = histogram.labels("x");
  expect(native).toMatchObject({ schema: 3, zeroCount: 0, positive: { indexes: [] } });
  expect(histogram.labels("y").native).toBe(native);
  histogram.observe({ a: "x" }, 0);
  expect(histogram.labels("x").native?.zeroCount).toBe(1);
  expect(native?.zeroCount).toBe(0);
});

test("zero makes a series with zeros, or sets one to zeros, and a kept one goes on", () => {
  const histogram = create();
  const kept = histogram.labels("x");
  kept.observe(1, { trace_id: "1" });
  const { number } = kept;
  vi.advanceTimersByTime(1000);
  histogram.zero({ a: "x" });
  histogram.zero({ a: "y" });
  expect(numbersOf(histogram)).toEqual([0, 0, 0, 0, 0]);
  expect(kept.exemplars).toBeUndefined();
  expect(kept.createdMs).toBe(1_700_000_001_500);
  expect(kept.number).toBe(number);
  kept.observe(7);
  expect(numbersOf(histogram)).toEqual([0, 0, 0, 1, 7]);
  expect(histogram.table.size).toBe(2);
  expect(() => histogram.zero({ b: 1 } as object)).toThrow(TypeError);
});

test("each bucket keeps its newest exemplar", () => {
  const histogram = create(true);
  histogram.observe({ labels: { a: "x" }, value: 0.5, exemplarLabels: { trace_id: "1" } });
  histogram.observe({ labels: { a: "x" }, value: 0.7, exemplarLabels: { trace_id: "2" } });
  histogram.observe({ labels: { a: "x" }, value: 0.8 });
  histogram.observe({ labels: { a: "x" }, value: 0.8, exemplarLabels: {} });
  histogram.labels("x").observe(9, { trace_id: "3" });
  expect(histogram.labels("x").exemplars).toEqual([
    { labels: { trace_id: "2" }, value: 0.7, timestampMs: 1_700_000_000_500 },
    undefined,
    undefined,
    { labels: { trace_id: "3" }, value: 9, timestampMs: 1_700_000_000_500 },
  ]);
  expect(histogram.labels("y").exemplars).toBeUndefined();
  histogram.remove("x");
  expect(histogram.labels("z").exemplars).toBeUndefined();
});

test("without classic buckets, the newest ten exemplars are kept", () => {
  const histogram = new Histogram({
    name: "h",
    help: "h",
    registers: [],
    buckets: false,
    native: { factor: 1.1 },
    enableExemplars: true,
  });
  for (let value = 1; value <= 12; value += 1)
    histogram.observe({ value, exemplarLabels: { trace_id: value } });
  const { exemplars } = histogram.labels();
  expect(exemplars?.map((exemplar) => exemplar?.value)).toEqual([12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
});

test("with exemplars, labels and value can be given as without", () => {
  const histogram = create(true);
  histogram.observe({ a: "x" }, 2);
  histogram.observe({ labels: { a: "x" }, value: 2 });
  expect(numbersOf(histogram)).toEqual([0, 2, 0, 0, 4]);
  histogram.observe(1);
  expect(histogram.table.size).toBe(2);
});

test("timers observe the seconds since they were started, with labels and exemplars from their start and end", () => {
  const histogram = create(true);
  const end = histogram.startTimer({ a: "start" }, { trace_id: "1" });
  const endUnlabelled = histogram.startTimer();
  const kept = histogram.labels("kept");
  const endKept = kept.startTimer();
  const endElsewhere = kept.startTimer();
  vi.advanceTimersByTime(1500);
  expect(end({ a: "end" }, { span_id: "2" })).toBeCloseTo(1.5);
  endUnlabelled();
  histogram.remove("kept");
  endKept(undefined, { trace_id: "4" });
  endElsewhere({ a: "end" });
  const numbers = (a: string) => numbersOf(histogram, histogram.labels(a).slot).slice(0, 4);
  expect(numbers("end")).toEqual([0, 2, 0, 0]);
  expect(histogram.labels("end").exemplars?.[1]?.labels).toEqual({ trace_id: "1", span_id: "2" });
  expect(numbers("")).toEqual([0, 1, 0, 0]);
  expect(numbers("kept")).toEqual([0, 1, 0, 0]);
  expect(kept.exemplars?.[1]?.labels).toEqual({ trace_id: "4" });
  expect(histogram.table.size).toBe(3);
});

test("get gives the counts of the buckets added up, the sum and the count", async () => {
  const histogram = create();
  for (const value of [0.5, 1.5, 1.5, 7]) histogram.observe({ a: "x" }, value);
  const { values } = await histogram.get();
  expect(values).toEqual([
    { metricName: "h_bucket", labels: { a: "x", le: 1 }, value: 1 },
    { metricName: "h_bucket", labels: { a: "x", le: 2 }, value: 3 },
    { metricName: "h_bucket", labels: { a: "x", le: 5 }, value: 3 },
    { metricName: "h_bucket", labels: { a: "x", le: "+Inf" }, value: 4 },
    { metricName: "h_sum", labels: { a: "x" }, value: 10.5 },
    { metricName: "h_count", labels: { a: "x" }, value: 4 },
  ]);
});
