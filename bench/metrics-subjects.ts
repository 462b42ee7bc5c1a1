// The metrics clients that bench/metrics.ts compares, each behind the same few calls. They are loaded only when they
// are asked for, so that each is measured in a process that has nothing else.
import type { Registry as OfficialRegistry } from "@prometheus-io/client";

export const subjectNames = ["ours", "official", "prom-client", "opentelemetry"] as const;
export type SubjectName = (typeof subjectNames)[number];

/** Formats that a scrape can be in; the others have text only. */
export type ScrapeFormat = "text" | "openmetrics" | "protobuf";

export type Labels = Readonly<Record<"method" | "path" | "status", string>>;

export interface HistogramSubject {
  observe(labels: Labels, value: number): void;
  /** What `labels()` gives, to be kept; undefined where there is no such thing. */
  kept(labels: Labels): ((value: number) => void) | undefined;
}

export interface CounterSubject {
  inc(labels: Labels): void;
  kept(labels: Labels): (() => void) | undefined;
}

export interface Subject {
  histogram(name: string): HistogramSubject;
  counter(name: string): CounterSubject;
  /** Renders everything, as an answer to a scraper would have it, and gives its bytes. */
  scrape(format: ScrapeFormat): Promise<number>;
}

const labelNames = ["method", "path", "status"] as const;
/** Those that all clients have by default. */
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
// No client may drop series that the bench asks for.
const mostSeries = 1_000_000;

/** @param native whether histograms are native, too, which only ours can be */
export async function createSubject(name: SubjectName, native = false): Promise<Subject> {
  switch (name) {
    case "ours":
      return ours(native);
    case "official":
      return ofClient(await import("@prometheus-io/client"));
    case "prom-client":
      return ofClient((await import("prom-client")) as unknown as typeof import("@prometheus-io/client"));
    case "opentelemetry":
      return openTelemetry();
  }
}

async function ours(native: boolean): Promise<Subject> {
  const { Counter, Histogram, Registry, scrape } = await import("@ectus/metrics");
  const registry = new Registry();
  const common = { help: "Of the bench.", labelNames, registers: [registry], maxSeries: mostSeries };
  const formats = {
    text: { kind: "text", version: "0.0.4", escaping: "underscores" },
    openmetrics: { kind: "openmetrics", version: "1.0.0", escaping: "underscores" },
    protobuf: { kind: "protobuf", escaping: "underscores" },
  } as const;
  return {
    histogram(metricName) {
      const histogram = new Histogram({
        ...common,
        name: metricName,
        buckets,
        ...(native ? { native: { factor: 1.1, maxBuckets: 160 } } : {}),
      });
      return {
        observe: (labels, value) => histogram.observe(labels, value),
        kept: (labels) => {
          const series = histogram.labels(labels);
          return (value) => series.observe(value);
        },
      };
    },
    counter(metricName) {
      const counter = new Counter({ ...common, name: metricName });
      return {
        inc: (labels) => counter.inc(labels),
        kept: (labels) => {
          const series = counter.labels(labels);
          return () => series.inc();
        },
      };
    },
    async scrape(format) {
      let bytes = 0;
      for await (const chunk of scrape(registry, { format: formats[format] })) bytes += chunk.length;
      return bytes;
    },
  };
}

/** The official client and its predecessor, whose calls are the same. */
function ofClient({ Counter, Histogram, Registry }: typeof import("@prometheus-io/client")): Subject {
  const registry: OfficialRegistry = new Registry();
  const common = { help: "Of the bench.", labelNames, registers: [registry] };
  return {
    histogram(name) {
      const histogram = new Histogram({ ...common, name, buckets } as never);
      return {
        observe: (labels, value) => histogram.observe(labels as never, value),
        kept: (labels) => {
          const child = histogram.labels(labels as never);
          return (value) => child.observe(value);
        },
      };
    },
    counter(name) {
      const counter = new Counter({ ...common, name } as never);
      return {
        inc: (labels) => counter.inc(labels as never),
        kept: (labels) => {
          const child = counter.labels(labels as never);
          return () => child.inc();
        },
      };
    },
    scrape: async () => Buffer.byteLength(await registry.metrics()),
  };
}

async function openTelemetry(): Promise<Subject> {
  const { MeterProvider } = await import("@opentelemetry/sdk-metrics");
  const { PrometheusExporter, PrometheusSerializer } = await import("@opentelemetry/exporter-prometheus");
  const reader = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({
    readers: [reader],
    views: [{ instrumentName: "*", aggregationCardinalityLimit: mostSeries }],
  });
  const meter = provider.getMeter("bench");
  const serializer = new PrometheusSerializer();
  return {
    histogram(name) {
      const histogram = meter.createHistogram(name, {
        description: "Of the bench.",
        advice: { explicitBucketBoundaries: buckets },
      });
      return { observe: (labels, value) => histogram.record(value, labels), kept: () => undefined };
    },
    counter(name) {
      const counter = meter.createCounter(name, { description: "Of the bench." });
      return { inc: (labels) => counter.add(1, labels), kept: () => undefined };
    },
    async scrape() {
      const { resourceMetrics, errors } = await reader.collect();
      if (errors.length > 0) throw new Error(`OpenTelemetry could not collect: ${errors.join(", ")}`);
      return Buffer.byteLength(serializer.serialize(resourceMetrics));
    },
  };
}
