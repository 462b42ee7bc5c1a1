import { expect, test } from "vitest";
import { Counter } from "./counter.ts";
import { Gauge } from "./gauge.ts";
import { Registry } from "./registry.ts";

test("a registry gives text 0.0.4 unless it is told otherwise", async () => {
  const registry = new Registry();
  new Counter({ name: "jobs_total", help: "Jobs.", registers: [registry] }).inc();
  expect(registry.contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(await registry.metrics()).toBe("# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total 1\n");

  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  expect(registry.contentType).toBe("application/openmetrics-text; version=1.0.0; charset=utf-8");
  expect(await registry.metrics()).toBe("# HELP jobs Jobs.\n# TYPE jobs counter\njobs_total 1\n# EOF\n");
  expect(new Registry(Registry.OPENMETRICS_CONTENT_TYPE).contentType).toBe(Registry.OPENMETRICS_CONTENT_TYPE);
});

test("an unknown content type is refused", () => {
  expect(() => new Registry("text/html" as never)).toThrow(TypeError);
  expect(() => new Registry().setContentType("toString" as never)).toThrow("toString is unsupported");
});

test("one metric is given alone, without the end of the exposition", async () => {
  const registry = new Registry();
  const counter = new Counter({ name: "jobs_total", help: "Jobs.", registers: [registry] });
  new Gauge({ name: "other", help: "O.", registers: [registry] });
  const text = "# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total 0";
  expect(await registry.getSingleMetricAsString("jobs_total")).toBe(text);
  expect(await registry.getMetricsAsString(counter)).toBe(text);
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  expect(await registry.getSingleMetricAsString("jobs_total")).toBe(
    "# HELP jobs Jobs.\n# TYPE jobs counter\njobs_total 0",
  );
  await expect(registry.getSingleMetricAsString("none")).rejects.toThrow("there is no metric none");
});

test("a collect callback that fails is told to who asks for all metrics, and thrown to who asks for that one", async () => {
  const registry = new Registry();
  const collect = () => {
    throw new Error("broken");
  };
  new Gauge({ name: "broken", help: "B.", collect, registers: [registry] });
  new Gauge({ name: "fine", help: "F.", registers: [registry] });
  const failed: string[] = [];
  const text = await registry.metrics({ onCollectError: (metric) => failed.push(metric) });
  expect(text).toBe("# HELP fine F.\n# TYPE fine gauge\nfine 0\n");
  expect(failed).toEqual(["broken"]);
  await expect(registry.getSingleMetricAsString("broken")).rejects.toThrow("broken");
});

test("numbers are spelled as the formats have it", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["n"], registers: [registry] });
  const numbers = [
    0,
    -0,
    7,
    10,
    999_999_999,
    2 ** 31 - 1,
    2 ** 31,
    -1,
    2 ** 53,
    0.1,
    1e-7,
    1e21,
    5e-324,
    -1.7976931348623157e308,
  ];
  const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const [n, value] of [...numbers, ...special].entries()) gauge.set({ n }, value);
  const written = [...(await registry.metrics()).matchAll(/^g\{.*\} (.*)$/gm)].map(([, value]) => value);
  expect(written).toEqual([...numbers.map(String), "NaN", "+Inf", "-Inf"]);
});
