import { describe, expect, test } from "vitest";
import { Counter } from "../counter.ts";
import { Gauge } from "../gauge.ts";
import { Histogram } from "../histogram.ts";
import { Registry } from "../registry.ts";
import { canonicalNumber } from "./openmetrics.ts";

const createRegistry = () => new Registry(Registry.OPENMETRICS_CONTENT_TYPE);

test("an exposition of nothing is its end", async () => {
  expect(await createRegistry().metrics()).toBe("# EOF\n");
});

test("a counter's name is without _total, its samples have it", async () => {
  const registry = createRegistry();
  new Counter({ name: "jobs_total", help: 'Jobs "done".\n', registers: [registry] }).inc(3);
  expect(await registry.metrics()).toBe(
    '# HELP jobs Jobs \\"done\\".\\n\n# TYPE jobs counter\njobs_total 3\n# EOF\n',
  );
});

test("a counter that is not called _total keeps its name, as one of unknown type", async () => {
  const registry = createRegistry();
  new Counter({ name: "jobs", help: "Jobs.", registers: [registry], enableExemplars: true }).inc({
    exemplarLabels: { trace_id: "t" },
  });
  expect(await registry.metrics()).toBe("# HELP jobs Jobs.\n# TYPE jobs unknown\njobs 1\n# EOF\n");
});

test("a unit is told where the name ends with it", async () => {
  const registry = createRegistry();
  new Counter({ name: "cpu_seconds_total", help: "C.", unit: "seconds", registers: [registry] });
  new Gauge({ name: "heap_bytes", help: "H.", unit: "bytes", registers: [registry] });
  new Gauge({ name: "bytes", help: "H.", unit: "bytes", registers: [registry] });
  new Gauge({ name: "size", help: "S.", unit: "bytes", registers: [registry] });
  const text = await registry.metrics();
  expect(text.match(/^# UNIT.*$/gm)).toEqual(["# UNIT cpu_seconds seconds", "# UNIT heap_bytes bytes"]);
});

test("buckets have canonical bounds, and exemplars stand behind the bucket or counter that they belong to", async () => {
  const registry = createRegistry();
  const counter = new Counter({
    name: "c_total",
    help: "C.",
    labelNames: ["a"],
    enableExemplars: true,
    registers: [registry],
  });
  counter.inc({ labels: { a: "x" }, value: 2, exemplarLabels: { trace_id: 'a"b', "span.id": "1" } });
  const histogram = new Histogram({
    name: "h",
    help: "H.",
    buckets: [0.5, 1, 1_000_000],
    enableExemplars: true,
    registers: [registry],
  });
  histogram.observe({ value: 0.7, exemplarLabels: { trace_id: "t" } });
  histogram.observe({ value: 2e6, exemplarLabels: {} });
  const text = (await registry.metrics()).replaceAll(/\d{10}(\.\d+)?$/gm, "TIME");
  expect(text).toBe(
    `# HELP c C.
# TYPE c counter
c_total{a="x"} 2 # {trace_id="a\\"b",span_id="1"} 2 TIME
# HELP h H.
# TYPE h histogram
h_bucket{le="0.5"} 0
h_bucket{le="1.0"} 1 # {trace_id="t"} 0.7 TIME
h_bucket{le="1e+06"} 1
h_bucket{le="+Inf"} 2
h_sum 2000000.7
h_count 2
# EOF
`,
  );
});

test("a NUL in an exemplar, at which Prometheus would stop reading, becomes the replacement character", async () => {
  const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE);
  const counter = new Counter({ name: "c_total", help: "C.", enableExemplars: true, registers: [registry] });
  counter.inc({ exemplarLabels: { id: "a\0b\0" } });
  expect(await registry.metrics()).toContain('# {id="a\ufffdb\ufffd"} 1 ');
});

describe("a bound is written as Go's strconv.FormatFloat(_, 'g', -1, 64) does, integers with .0", () => {
  // Go 1.26 printed these.
  test.each([
    [0, "0.0"],
    [1, "1.0"],
    [-3, "-3.0"],
    [0.005, "0.005"],
    [100_000, "100000.0"],
    [123_456, "123456.0"],
    [100_000.5, "100000.5"],
    [1e6, "1e+06"],
    [1_234_567, "1.234567e+06"],
    [12_345_678.5, "1.23456785e+07"],
    [1e20, "1e+20"],
    [1e21, "1e+21"],
    [1e300, "1e+300"],
    [0.0001, "0.0001"],
    [0.00012345, "0.00012345"],
    [0.00001, "1e-05"],
    [Number.POSITIVE_INFINITY, "+Inf"],
  ])("%d", (bound, text) => {
    expect(canonicalNumber(bound)).toBe(text);
  });
});
