// Code as it is written for the official client: every call that its types have, but for what is left out here on
// purpose. official-types.test.ts compiles and runs it again with the import changed to this client.
import {
  Counter,
  type CounterConfiguration,
  exponentialBuckets,
  Gauge,
  type GaugeConfiguration,
  Histogram,
  type HistogramConfiguration,
  type IncreaseDataWithExemplar,
  linearBuckets,
  type MetricObjectWithValues,
  type MetricType,
  type MetricValue,
  type MetricValueWithName,
  type ObserveDataWithExemplar,
  Registry,
  register,
} from "@prometheus-io/client";

type Names = "method" | "status";

export async function useAll(): Promise<unknown[]> {
  const registry = new Registry();
  const registers = [registry];

  const settings: CounterConfiguration<Names> = {
    name: "requests_total",
    help: "requests",
    labelNames: ["method", "status"],
    registers,
    collect() {
      this.inc({ method: "collected" }, 0);
    },
  };
  const counter = new Counter(settings);
  counter.inc();
  counter.inc(2);
  counter.inc({ method: "GET" });
  counter.inc({ method: "GET", status: 200 }, 2);
  counter.labels("GET", "200").inc();
  counter.labels({ method: "GET" }).inc(5);
  counter.remove("POST", "201");
  counter.remove({ method: "POST" });
  const kept: { inc(value?: number): void } = counter.labels("PUT", "200");
  kept.inc(3);

  const unlabelled = new Counter({ name: "plain_total", help: "plain", registers });
  unlabelled.inc();
  unlabelled.inc(2);
  unlabelled.labels().inc();
  // @ts-expect-error it has no labels
  const wrong = () => unlabelled.inc({ method: "GET" }, 1);
  // @ts-expect-error another name than its labels have
  const alsoWrong = () => counter.inc({ path: "/" });
  // @ts-expect-error no value of a label
  const wrongValue = () => counter.inc({ method: true });

  const openMetrics = new Registry(Registry.OPENMETRICS_CONTENT_TYPE);
  const withExemplars = new Counter({
    name: "examples_total",
    help: "examples",
    labelNames: ["method", "trace_id"] as const,
    registers: [openMetrics],
    enableExemplars: true,
  });
  const increase: IncreaseDataWithExemplar<"method" | "trace_id"> = {
    labels: { method: "GET" },
    value: 2,
    exemplarLabels: { trace_id: "0af7651916cd43dd8448eb211c80319c" },
  };
  withExemplars.inc(increase);

  const gaugeSettings: GaugeConfiguration<"state"> = {
    name: "connections",
    help: "connections",
    labelNames: ["state"],
    registers,
    async collect() {
      await Promise.resolve();
      this.set({ state: "collected" }, 3);
    },
  };
  const gauge = new Gauge(gaugeSettings);
  gauge.set(1);
  gauge.set({ state: "idle" }, 5);
  gauge.inc();
  gauge.inc(2);
  gauge.inc({ state: "idle" });
  gauge.inc({ state: "idle" }, 2);
  gauge.dec();
  gauge.dec(2);
  gauge.dec({ state: "idle" });
  gauge.dec({ state: "idle" }, 2);
  gauge.setToCurrentTime();
  gauge.setToCurrentTime({ state: "time" });
  gauge.remove("time");
  const duration: number = gauge.startTimer({ state: "timed" })();
  gauge.startTimer()({ state: "timed" });
  const child = gauge.labels("busy");
  child.set(4);
  child.inc();
  child.inc(2);
  child.dec();
  child.dec(2);
  child.setToCurrentTime();
  child.startTimer()({ state: "timed" });
  child.set(4);
  gauge.labels({ state: "idle" }).dec();
  gauge.remove({ state: "timed" });
  gauge.set(0);

  const histogramSettings: HistogramConfiguration<Names> = {
    name: "duration_seconds",
    help: "duration",
    labelNames: ["method", "status"] as const,
    registers,
    buckets: [0.1, 1, 10],
  };
  const histogram = new Histogram(histogramSettings);
  histogram.observe(0.5);
  histogram.observe({ method: "GET" }, 0.05);
  histogram.zero({ method: "POST" });
  histogram.startTimer({ method: "TIMED" })({ status: 200 });
  histogram.startTimer({ method: "TIMED" }, { status: "x" })({ status: 200 }, { status: "y" });
  histogram.labels("GET", "200").observe(2);
  histogram.labels({ method: "GET" }).startTimer()({ status: "TIMED" });
  histogram.remove("TIMED", "200");
  histogram.remove({ method: "GET", status: "TIMED" });

  const observation: ObserveDataWithExemplar<"trace_id"> = { value: 3, exemplarLabels: { trace_id: "1" } };
  const exemplary = new Histogram({
    name: "examples",
    help: "examples",
    labelNames: ["trace_id"],
    registers: [openMetrics],
    enableExemplars: true,
    buckets: linearBuckets(1, 1, 3),
  });
  exemplary.observe(observation);

  const counted: MetricObjectWithValues<MetricValue<Names>> = await counter.get();
  const gauged: MetricObjectWithValues<MetricValue<"state">> = await gauge.get();
  const observed: MetricObjectWithValues<MetricValueWithName<Names>> = await histogram.get();
  const type: MetricType = counted.type;

  const shown = [counted, gauged, observed].map(({ name, values }) => [
    name,
    values
      .map(({ labels, value }) => [Object.entries(labels).map(String).toSorted().join(), value])
      .toSorted(([a], [b]) => String(a).localeCompare(String(b))),
  ]);

  registry.setDefaultLabels({ app: "usage" });
  const objects = await registry.getMetricsAsJSON();
  const single = registry.getSingleMetric("connections") as Gauge<"state"> | undefined;
  single?.set({ state: "single" }, 1);
  const text: string = await registry.metrics();
  const [first] = registry.getMetricsAsArray();
  const one: string = await registry.getSingleMetricAsString("connections");
  const two: string = await registry.getMetricsAsString(gauge);
  registry.registerMetric(counter);
  registry.removeSingleMetric("plain_total");
  registry.resetMetrics();
  counter.reset();
  gauge.reset();
  histogram.reset();
  const merged = Registry.merge([registry, new Registry()]);
  const names = merged.getMetricsAsArray().map(({ name, help }) => `${name}: ${help}`);
  registry.setContentType(Registry.PROMETHEUS_CONTENT_TYPE);
  registry.clear();
  const metrics: string = await register.metrics();

  return [
    shown,
    type,
    names,
    objects.map(({ name, help, values }) => [name, help, values.length]),
    first?.name,
    [text, one, two, metrics].map((some) => typeof some),
    typeof duration,
    [wrong, alsoWrong, wrongValue].map((call) => typeof call),
    exponentialBuckets(1, 2, 3),
    registry.contentType,
  ];
}
