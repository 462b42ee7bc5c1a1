// What all kinds of metrics check when they are made, and how they are registered.
import { expect, test } from "vitest";
import { Counter } from "./counter.ts";
import { Gauge } from "./gauge.ts";
import { Histogram } from "./histogram.ts";
import { Registry, register } from "./registry.ts";

const kinds = [Counter, Gauge, Histogram] as const;

test.each(kinds)("%o checks what it is made from", (Kind) => {
  const make = (more: object) => new Kind({ name: "m", help: "m", registers: [], ...more });
  expect(() => make({})).not.toThrow();
  for (const wrong of [
    { name: "" },
    { name: undefined },
    { help: "" },
    { help: undefined },
    { labelNames: ["a", "a"] },
    { labelNames: ["__proto__"] },
    { collect: "no function" },
  ])
    expect(() => make(wrong)).toThrow(TypeError);
  for (const maxSeries of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    expect(() => make({ maxSeries })).toThrow(RangeError);
});

test("a metric is in the registries that it names, or in the default one", () => {
  const one = new Registry();
  const other = new Registry();
  const metric = new Gauge({ name: "metric_test", help: "m", registers: [one, other] });
  expect(one.getSingleMetric("metric_test")).toBe(metric);
  expect(other.getMetricsAsArray()).toEqual([metric]);
  expect(register.getSingleMetric("metric_test")).toBeUndefined();
  const byDefault = new Gauge({ name: "metric_test", help: "m" });
  expect(register.getSingleMetric("metric_test")).toBe(byDefault);
  register.removeSingleMetric("metric_test");
});

test("label names given later to the same array do not change the metric", () => {
  const labelNames = ["a"];
  const counter = new Counter({ name: "c", help: "c", registers: [], labelNames });
  labelNames.push("b");
  expect(counter.labelNames).toEqual(["a"]);
  expect(() => counter.inc({ b: 1 })).toThrow(TypeError);
});
