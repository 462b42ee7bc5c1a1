// Which metrics a registry has, and what it gives of them as objects. Its texts are tested with the expositions.
import { expect, test } from "vitest";
import { Counter } from "./counter.ts";
import { Gauge } from "./gauge.ts";
import { Histogram } from "./histogram.ts";
import { Registry } from "./registry.ts";

test("another metric of the same name is refused, the same one is not", () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "g", registers: [registry] });
  expect(() => new Counter({ name: "g", help: "g", registers: [registry] })).toThrow(
    "A metric with the name g has already been registered.",
  );
  registry.registerMetric(gauge);
  expect(registry.getMetricsAsArray()).toEqual([gauge]);
});

test("a metric is refused whose series have the names of those of a histogram", () => {
  const registry = new Registry();
  new Histogram({ name: "h.seconds", help: "h", registers: [registry] });
  for (const name of ["h.seconds_sum", "h.seconds_bucket", "h.seconds_count"])
    expect(() => new Gauge({ name, help: "g", registers: [registry] })).toThrow(
      `The metrics ${name} and h.seconds both have series called ${name}.`,
    );
  new Gauge({ name: "g_count", help: "g", registers: [registry] });
  expect(() => new Histogram({ name: "g", help: "h", registers: [registry] })).toThrow("g_count");
  new Gauge({ name: "g", help: "g", registers: [registry] });
  registry.removeSingleMetric("h.seconds");
  new Gauge({ name: "h.seconds_sum", help: "g", registers: [registry] });
  registry.clear();
  new Histogram({ name: "g", help: "g", registers: [registry] });
  expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(["g"]);
});

test("metrics can be removed, one or all", () => {
  const registry = new Registry();
  for (const name of ["a", "b", "toString"]) new Gauge({ name, help: "g", registers: [registry] });
  registry.setDefaultLabels({ app: "x" });
  registry.removeSingleMetric("a");
  expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(["b", "toString"]);
  registry.clear();
  expect(registry.getMetricsAsArray()).toEqual([]);
  expect(registry.getSingleMetric("b")).toBeUndefined();
  expect(registry.defaultLabels).toEqual({});
});

test("all metrics can be reset", () => {
  const registry = new Registry();
  const one = new Gauge({ name: "one", help: "g", registers: [registry] });
  const other = new Counter({ name: "other", help: "c", labelNames: ["a"], registers: [registry] });
  one.set(5);
  other.inc({ a: "x" });
  registry.resetMetrics();
  expect(one.table.values[0]).toBe(0);
  expect(other.table.size).toBe(0);
});

test("default labels are on every value that does not have them itself", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "the g", labelNames: ["app", "a"], registers: [registry] });
  gauge.set({ a: "x" }, 1);
  gauge.set({ app: "own" }, 2);
  const labels = { app: "default", zone: 7 };
  registry.setDefaultLabels(labels);
  labels.app = "changed later";
  expect(await registry.getMetricsAsJSON()).toEqual([
    {
      name: "g",
      help: "the g",
      type: "gauge",
      values: [
        { labels: { app: "default", zone: 7, a: "x" }, value: 1 },
        { labels: { app: "own", zone: 7 }, value: 2 },
      ],
    },
  ]);
  expect(() => registry.setDefaultLabels({ __name__: "x" })).toThrow(TypeError);
});

test("a collect callback that throws fails the objects, as with the official client", async () => {
  const registry = new Registry();
  const collect = () => {
    throw new Error("no value");
  };
  new Gauge({ name: "g", help: "g", registers: [registry], collect });
  await expect(registry.getMetricsAsJSON()).rejects.toThrow("no value");
});

test("registries can be merged into a new one", () => {
  const one = new Registry();
  const other = new Registry();
  const a = new Gauge({ name: "a", help: "a", registers: [one] });
  const b = new Gauge({ name: "b", help: "b", registers: [other] });
  expect(Registry.merge([one, other]).getMetricsAsArray()).toEqual([a, b]);
  expect(() => Registry.merge([one, new Registry(Registry.OPENMETRICS_CONTENT_TYPE)])).toThrow(TypeError);
  new Gauge({ name: "a", help: "a", registers: [other] });
  expect(() => Registry.merge([one, other])).toThrow("already been registered");
});
