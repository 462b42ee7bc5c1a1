// The series of a metric: kept ones, the cap, and slots that are used again.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { Counter } from "./counter.ts";
import { seriesOf } from "./testing/series-of.ts";

function createCounter(maxSeries?: number) {
  return new Counter({ name: "c_total", help: "c", labelNames: ["a", "b"], registers: [], maxSeries });
}

/** Values by label values. */
function valuesOf({ table }: Pick<Counter<string>, "table">): Record<string, number> {
  const values: Record<string, number> = {};
  for (const series of seriesOf(table))
    values[series.labelValues.map((value) => value ?? "-").join(" ")] = table.values[series.slot] as number;
  return values;
}

test("a number and its text, undefined, an empty text and a label left out are one series each", () => {
  const counter = createCounter();
  counter.inc({ a: 200, b: undefined });
  counter.inc({ a: "200" });
  counter.inc({ b: "", a: "200" });
  counter.labels("200", "").inc();
  counter.labels({ a: 200 }).inc();
  expect(valuesOf(counter)).toEqual({ "200 -": 5 });
  counter.remove({ a: 200, b: "" });
  expect(valuesOf(counter)).toEqual({});
});

test("removing by the number removes what was made by the text", () => {
  const counter = createCounter();
  counter.inc({ a: "200", b: "x" });
  counter.remove(200, "x");
  expect(counter.table.size).toBe(0);
  counter.inc({ a: 200, b: "x" });
  expect(valuesOf(counter)).toEqual({ "200 x": 1 });
  counter.remove({ a: "404" });
  expect(counter.table.size).toBe(1);
});

test("texts that look like another number stay apart from it", () => {
  const counter = createCounter();
  for (const a of ["0x10", "16", "1e1", "10", " 5", "5", "5.0"]) counter.inc({ a });
  counter.remove({ a: "0x10" });
  counter.inc({ a: 16 });
  counter.inc({ a: 10 });
  counter.inc({ a: 5 });
  expect(valuesOf(counter)).toEqual({ "16 -": 2, "1e1 -": 1, "10 -": 2, " 5 -": 1, "5 -": 2, "5.0 -": 1 });
});

test("a kept series that was removed begins again when it is used", () => {
  const counter = createCounter();
  const kept = counter.labels("x", "y");
  kept.inc(5);
  const before = kept.number;
  counter.remove("x", "y");
  expect(kept.slot).toBe(-1);
  expect(kept.labelValues).toEqual(["x", "y"]);
  expect(valuesOf(counter)).toEqual({});
  kept.inc(2);
  expect(valuesOf(counter)).toEqual({ "x y": 2 });
  expect(kept.number).toBeGreaterThan(before);
  expect(counter.labels("x", "y")).toBe(kept);
});

test("a kept series joins the one that somebody else made after the removal, and goes with it", () => {
  const counter = createCounter();
  const kept = counter.labels("x", "y");
  counter.remove("x", "y");
  counter.inc({ a: "other" });
  const successor = counter.labels("x", "y");
  successor.inc(3);
  kept.inc();
  successor.inc();
  expect(valuesOf(counter)).toEqual({ "other -": 1, "x y": 5 });
  counter.remove("x", "y");
  expect([kept.slot, successor.slot]).toEqual([-1, -1]);
  kept.inc(7);
  successor.inc();
  expect(valuesOf(counter)).toEqual({ "other -": 1, "x y": 8 });
});

test("kept series go on after reset", () => {
  const labelled = createCounter();
  const kept = labelled.labels("x", "y");
  kept.inc(5);
  labelled.reset();
  expect(valuesOf(labelled)).toEqual({});
  kept.inc();
  expect(valuesOf(labelled)).toEqual({ "x y": 1 });

  const single = new Counter({ name: "single_total", help: "s", registers: [] });
  const only = single.labels();
  only.inc(5);
  single.reset();
  expect(valuesOf(single)).toEqual({ "": 0 });
  only.inc();
  single.inc();
  expect(valuesOf(single)).toEqual({ "": 2 });
});

test("what goes past the cap is counted in one series, and each time that it was asked for is told", () => {
  const counter = createCounter(2);
  counter.inc({ a: "1" });
  counter.inc({ a: "2" });
  counter.inc({ a: "3" }, 10);
  counter.inc({ a: "4", b: "5" }, 10);
  counter.inc({ a: "1" });
  expect(valuesOf(counter)).toEqual({ "1 -": 2, "2 -": 1, "overflow overflow": 20 });
  expect(counter.table.dropped).toBe(2);
  expect(counter.table.size).toBe(2);
});

test("2,000 label sets are the cap when nothing else is said", () => {
  const counter = createCounter();
  for (let a = 0; a < 2010; a += 1) counter.inc({ a });
  expect(counter.table.size).toBe(2000);
  expect(counter.table.dropped).toBe(10);
  expect(valuesOf(counter)["overflow overflow"]).toBe(10);
});

test("there is room again after a removal", () => {
  const counter = createCounter(2);
  for (const a of ["1", "2", "3"]) counter.inc({ a });
  counter.remove({ a: "1" });
  counter.inc({ a: "3" });
  expect(valuesOf(counter)).toEqual({ "2 -": 1, "3 -": 1, "overflow overflow": 1 });
});

test("a kept series of the overflow goes on counting there, after removal and reset, too", () => {
  const counter = createCounter(1);
  counter.inc({ a: "1" });
  const kept = counter.labels("2", "x");
  kept.inc();
  expect(counter.labels("3", "x")).toBe(kept);
  expect(counter.table.dropped).toBe(2);
  counter.remove("overflow", "overflow");
  expect(valuesOf(counter)).toEqual({ "1 -": 1 });
  kept.inc();
  expect(valuesOf(counter)).toEqual({ "1 -": 1, "overflow overflow": 1 });
  counter.remove("overflow", "overflow");
  counter.inc({ a: "4" }, 3);
  expect(valuesOf(counter)).toEqual({ "1 -": 1, "overflow overflow": 3 });
  counter.reset();
  kept.inc();
  expect(valuesOf(counter)).toEqual({ "overflow overflow": 1 });
  expect(counter.table.size).toBe(0);
  counter.inc({ a: "5" });
  counter.inc({ a: "6" });
  expect(valuesOf(counter)).toEqual({ "5 -": 1, "overflow overflow": 2 });
});

test("a label set that really is all overflow is that one series", () => {
  const counter = createCounter(1);
  counter.inc({ a: "overflow", b: "overflow" });
  counter.inc({ a: "1" });
  counter.inc({ a: "2" });
  expect(valuesOf(counter)).toEqual({ "overflow overflow": 2, "1 -": 1 });
});

test("a kept series that was removed and finds no room is counted in the overflow", () => {
  const counter = createCounter(1);
  const kept = counter.labels("1", "");
  counter.remove("1", "");
  counter.inc({ a: "2" });
  kept.inc(4);
  expect(valuesOf(counter)).toEqual({ "2 -": 1, "overflow overflow": 4 });
});

test("label sets that are refused, or gone, take no memory", () => {
  const counter = createCounter(10);
  const text = (index: number) => `${index}`.repeat(200);
  setFlagsFromString("--expose-gc");
  const collectGarbage: () => void = runInNewContext("gc");
  const used = () => {
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  for (let index = 0; index < 20; index += 1) counter.inc({ a: text(index), b: text(index) });
  const before = used();
  for (let index = 20; index < 20_000; index += 1) counter.inc({ a: text(index), b: text(index) });
  for (let index = 0; index < 10; index += 1) counter.remove(text(index), text(index));
  for (let index = 20; index < 20_000; index += 1) {
    counter.inc({ a: text(index), b: text(index) });
    counter.remove(text(index), text(index));
  }
  // 20,000 label sets of 400 to 2,000 characters would be more than 20 MB.
  expect(used() - before).toBeLessThan(5_000_000);
  expect(counter.table.size).toBe(0);
  expect(counter.table.end).toBe(11);
});

test("tables grow from one series to thousands without losing a value", () => {
  const counter = new Counter({ name: "c", help: "c", labelNames: ["a"], registers: [], maxSeries: 5000 });
  for (let round = 0; round < 2; round += 1) for (let a = 0; a < 5000; a += 1) counter.inc({ a }, a);
  const values = valuesOf(counter);
  for (let a = 0; a < 5000; a += 1) expect(values[a]).toBe(2 * a);
  expect(counter.table.values).toHaveLength(5001);
});

test("a slot that is used again has a series with a higher number, and begins at 0", () => {
  const counter = createCounter();
  counter.inc({ a: "1" }, 5);
  counter.inc({ a: "2" }, 5);
  const scrapeBegan = counter.table.nextNumber;
  const { slot } = counter.labels("1", "");
  counter.remove({ a: "1" });
  const made = counter.labels("1", "");
  expect(made.slot).toBe(slot);
  expect(made.number).toBeGreaterThanOrEqual(scrapeBegan);
  expect(counter.labels("2", "").number).toBeLessThan(scrapeBegan);
  expect(counter.table.values[slot]).toBe(0);
  counter.reset();
  expect(counter.labels("2", "").number).toBeGreaterThan(made.number);
});

test("a series knows when it was made, and a removed one does not", () => {
  const counter = createCounter();
  const before = Date.now();
  const kept = counter.labels("1", "");
  expect(kept.createdMs).toBeGreaterThanOrEqual(before);
  expect(kept.createdMs).toBeLessThanOrEqual(Date.now());
  counter.remove({ a: "1" });
  expect([kept.createdMs, kept.number]).toEqual([0, -1]);
  expect(kept.labels).toEqual({ a: "1" });
});

test("labels with names of what every object has", () => {
  const names = ["constructor", "toString", "valueOf"] as const;
  const counter = new Counter({ name: "c", help: "c", labelNames: names, registers: [] });
  // Without a type: TypeScript thinks that an empty object has these, too.
  const inc = (labels: object) => counter.inc(labels as Record<(typeof names)[number], string>);
  inc({});
  inc({ constructor: "x" });
  inc({ valueOf: "y", toString: "z" });
  expect(valuesOf(counter)).toEqual({ "- - -": 1, "x - -": 1, "- z y": 1 });
  expect(counter.labels("x", "", "").labels).toEqual({ constructor: "x" });
});
