import { expect, test } from "vitest";
import { Counter } from "./counter.ts";

const create = (enableExemplars = false) =>
  new Counter({ name: "c_total", help: "c", labelNames: ["a"], registers: [], enableExemplars });

const numberOf = (counter: Counter<"a">, a = "x") => counter.table.values[counter.labels({ a }).slot];

test("it adds 1 or what is given, to the series of the labels or to a kept one", () => {
  const counter = create();
  counter.inc({ a: "x" });
  counter.inc({ a: "x" }, 2.5);
  counter.inc({ a: "x" }, 0);
  counter.labels("x").inc();
  counter.labels({ a: "x" }).inc(10);
  expect(numberOf(counter)).toBe(14.5);
});

test("without labels it is there with 0 from the beginning", () => {
  const counter = new Counter({ name: "c_total", help: "c", registers: [] });
  expect(counter.table.values[0]).toBe(0);
  expect(counter.table.size).toBe(1);
  counter.inc();
  counter.inc(2);
  counter.inc({});
  counter.labels().inc(3);
  expect(counter.table.values[0]).toBe(7);
  expect(counter.table.size).toBe(1);
});

test.each([
  [-1, RangeError],
  [Number.NaN, TypeError],
  [Number.POSITIVE_INFINITY, TypeError],
  [Number.NEGATIVE_INFINITY, TypeError],
  ["5", TypeError],
  [true, TypeError],
  [5n, TypeError],
])("%s is refused and counts nothing", (value, error) => {
  const counter = create();
  const kept = counter.labels("kept");
  expect(() => counter.inc({ a: "x" }, value as number)).toThrow(error);
  expect(() => counter.inc(value as number)).toThrow(error);
  expect(() => kept.inc(value as number)).toThrow(error);
  expect(counter.table.size).toBe(1);
  expect(numberOf(counter, "kept")).toBe(0);
});

test("null counts as no value, for callers without types", () => {
  const counter = create();
  counter.inc({ a: "x" }, null as unknown as number);
  counter.labels("x").inc(null as unknown as number);
  expect(numberOf(counter)).toBe(2);
});

test("a label that it does not have is refused", () => {
  const counter = create();
  expect(() => counter.inc({ a: "x", b: "y" } as object)).toThrow(
    new TypeError('got the label "b", accepts a'),
  );
  expect(() => counter.labels("x", "y")).toThrow(new TypeError("got 2 label values (x, y), accepts 1 (a)"));
  expect(() => counter.remove()).toThrow(TypeError);
  expect(() => new Counter({ name: "c", help: "c", registers: [] }).inc({ a: 1 } as object)).toThrow(
    new TypeError('got the label "a", accepts no label'),
  );
  expect(counter.table.size).toBe(0);
});

test("the newest exemplar is kept with its own value", () => {
  const counter = create(true);
  counter.inc({ labels: { a: "x" }, value: 2, exemplarLabels: { trace_id: "1" } });
  counter.inc({ labels: { a: "x" }, value: 3, exemplarLabels: { trace_id: "2", span: 7, none: undefined } });
  counter.inc({ labels: { a: "x" }, value: 4 });
  counter.labels("x").inc(5, {});
  expect(counter.labels("x").exemplar).toMatchObject({ labels: { trace_id: "2", span: "7" }, value: 3 });
  expect(numberOf(counter)).toBe(14);
  counter.labels("y").inc(1, { trace_id: "3" });
  expect(counter.labels("y").exemplar?.labels).toEqual({ trace_id: "3" });
  expect(counter.labels("x").exemplar?.value).toBe(3);
});

test("with exemplars, labels and value can be given as without", () => {
  const counter = create(true);
  counter.inc({ a: "x" }, 2);
  counter.inc({ a: "x" });
  counter.inc({ labels: { a: "x" } });
  counter.inc(5);
  expect(numberOf(counter)).toBe(4);
  expect(numberOf(counter, "")).toBe(5);
});

test("an exemplar goes with its series", () => {
  const counter = create();
  const kept = counter.labels("x");
  kept.inc(1, { trace_id: "1" });
  counter.remove("x");
  expect(kept.exemplar).toBeUndefined();
  expect(counter.labels("y").exemplar).toBeUndefined();
  kept.inc(1, { trace_id: "2" });
  counter.reset();
  expect(counter.labels("z").exemplar).toBeUndefined();
});

test("what cannot be an exemplar is told, after it was counted", () => {
  const counter = create();
  expect(() => counter.labels("x").inc(1, { trace_id: "x".repeat(121) })).toThrow(RangeError);
  expect(numberOf(counter)).toBe(1);
  expect(counter.labels("x").exemplar).toBeUndefined();
});

test("get gives its values after its collect callback", async () => {
  const counter = new Counter({
    name: "c_total",
    help: "c",
    labelNames: ["a"],
    registers: [],
    async collect() {
      await Promise.resolve();
      this.inc({ a: "collected" }, 4);
    },
  });
  counter.labels({ a: 200 }).inc(1, { trace_id: "1" });
  expect(await counter.get()).toEqual({
    name: "c_total",
    help: "c",
    type: "counter",
    values: [
      {
        labels: { a: "200" },
        value: 1,
        exemplar: { labelSet: { trace_id: "1" }, value: 1, timestamp: expect.any(Number) },
      },
      { labels: { a: "collected" }, value: 4 },
    ],
  });
});
