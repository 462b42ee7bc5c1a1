import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Counter } from "../counter.ts";
import { Gauge } from "../gauge.ts";
import { Histogram } from "../histogram.ts";
import type { NativeOptions } from "../native-buckets.ts";
import type { AnyMetric } from "../registry.ts";
import type { LabelValue, Series } from "../series-table.ts";
import { expand, type ReadHistogram, readProtobuf, writeWithLibrary } from "../testing/read-protobuf.ts";
import { seriesOf } from "../testing/series-of.ts";
import type { Escaping } from "./format.ts";
import { escapeMetricNames } from "./name-escaping.ts";
import { createProtobufEncoder } from "./protobuf.ts";

const registers = [] as const;

interface Options {
  readonly escaping?: Escaping;
  readonly defaultLabels?: Record<string, LabelValue>;
  /** After how many steps chunks are taken each time, as a scrape in slices may do. */
  readonly takeEvery?: number;
}

function encode(metrics: readonly unknown[], options: Options = {}): Uint8Array[] {
  const { escaping = "allow-utf-8", defaultLabels = {}, takeEvery = Number.POSITIVE_INFINITY } = options;
  const encoder = createProtobufEncoder({ escaping, defaultLabels });
  const names = escapeMetricNames(metrics as readonly AnyMetric[], escaping);
  const chunks: Uint8Array[] = [];
  let steps = 0;
  const step = (): void => {
    steps += 1;
    if (steps % takeEvery === 0) chunks.push(...encoder.take());
  };
  for (const metric of metrics as readonly AnyMetric[]) {
    encoder.beginMetric(metric, names.get(metric) as string);
    step();
    for (const series of seriesOf(metric.table)) {
      encoder.writeSeries(series);
      step();
    }
    encoder.endMetric();
    step();
  }
  encoder.finish();
  chunks.push(...encoder.take());
  return chunks;
}

const read = (metrics: readonly unknown[], options?: Options) =>
  readProtobuf(Buffer.concat(encode(metrics, options)));

const readHistogram = (histogram: unknown): ReadHistogram =>
  read([histogram])[0]?.metric?.[0]?.histogram as ReadHistogram;

const now = Date.UTC(2026, 10, 24, 12, 0, 0, 250);
const nowRead = { seconds: now / 1000 - 0.25, nanos: 250_000_000 };

beforeEach(() => {
  vi.useFakeTimers({ now, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("counters and gauges", () => {
  test("what every object has is no default label", () => {
    const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["constructor"], registers });
    gauge.labels("").set(1);
    expect(read([gauge])[0]?.metric).toEqual([{ gauge: { value: 1 } }]);
  });

  test("a counter has its labels, value, start and exemplar", () => {
    const counter = new Counter({
      name: "http_requests_total",
      help: "Requests.",
      labelNames: ["method", "path"],
      enableExemplars: true,
      registers,
    });
    counter.inc({
      labels: { method: "GET", path: "/v1/models" },
      value: 3,
      exemplarLabels: { trace_id: "ab12" },
    });
    expect(read([counter])).toEqual([
      {
        name: "http_requests_total",
        help: "Requests.",
        type: "COUNTER",
        metric: [
          {
            label: [
              { name: "method", value: "GET" },
              { name: "path", value: "/v1/models" },
            ],
            counter: {
              value: 3,
              exemplar: { label: [{ name: "trace_id", value: "ab12" }], value: 3, timestamp: nowRead },
              createdTimestamp: nowRead,
            },
          },
        ],
      },
    ]);
  });

  test("a gauge has any value that a number can have", () => {
    for (const value of [0, -1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324]) {
      const gauge = new Gauge({ name: "level", help: "Level.", registers });
      gauge.set(value);
      expect(read([gauge])).toEqual([
        { name: "level", help: "Level.", type: "GAUGE", metric: [{ gauge: { value } }] },
      ]);
    }
  });

  test("a label that was left out is not there", () => {
    const gauge = new Gauge({ name: "level", help: "Level.", labelNames: ["a", "b"], registers });
    gauge.set({ b: "x" }, 1);
    expect(read([gauge])[0]?.metric?.[0]?.label).toEqual([{ name: "b", value: "x" }]);
  });

  test("a metric without series is left out", () => {
    const empty = new Gauge({ name: "empty", help: "No series.", labelNames: ["a"], registers });
    const gauge = new Gauge({ name: "level", help: "Level.", registers });
    expect(read([empty, gauge, empty]).map(({ name }) => name)).toEqual(["level"]);
    expect(encode([empty])).toEqual([]);
  });

  test("a unit is written where it ends the name, as Prometheus demands", () => {
    for (const [name, unit, written] of [
      ["size_bytes", "bytes", "bytes"],
      ["size_bytes_total", "bytes", "bytes"],
      ["size", "bytes", undefined],
      ["megabytes", "bytes", undefined],
      ["size_", "", undefined],
    ] as const) {
      const counter = new Counter({ name, help: "Size.", unit, registers });
      expect([name, read([counter])[0]?.unit]).toEqual([name, written]);
    }
  });
});

describe("labels of the registry and names", () => {
  test("default labels are on every series that does not have them itself", () => {
    const gauge = new Gauge({ name: "level", help: "Level.", labelNames: ["zone"], registers });
    gauge.set({ zone: "own" }, 1);
    gauge.set({}, 2);
    const labels = read([gauge], { defaultLabels: { zone: "default", instance: 7 } })[0]?.metric?.map(
      ({ label }) => label?.map(({ name, value }) => `${name}=${value}`),
    );
    expect(labels).toEqual([
      ["zone=own", "instance=7"],
      ["zone=default", "instance=7"],
    ]);
  });

  test("a default label le does not get into the buckets' way", () => {
    const histogram = new Histogram({ name: "h", help: "H.", registers });
    expect(read([histogram], { defaultLabels: { le: "x" } })[0]?.metric?.[0]?.label).toBeUndefined();
  });

  test("names are written as the scraper wants them", () => {
    const gauge = new Gauge({ name: "größe.von", help: "Größe.", labelNames: ["a.b"], registers });
    gauge.set({ "a.b": "größe" }, 1);
    for (const [escaping, name, label] of [
      ["allow-utf-8", "größe.von", "a.b"],
      ["underscores", "gr__e_von", "a_b"],
    ] as const) {
      const [family] = read([gauge], { escaping });
      expect([family?.name, family?.metric?.[0]?.label]).toEqual([name, [{ name: label, value: "größe" }]]);
    }
  });
});

describe("classic buckets", () => {
  test("they are cumulative, without +Inf", () => {
    const histogram = new Histogram({ name: "h", help: "H.", buckets: [0.5, 1, 2], registers });
    for (const value of [0.5, 0.7, 1.5, 99]) histogram.observe(value);
    expect(readHistogram(histogram)).toEqual({
      sampleCount: 4,
      sampleSum: 101.7,
      bucket: [
        { cumulativeCount: 1, upperBound: 0.5 },
        { cumulativeCount: 2, upperBound: 1 },
        { cumulativeCount: 3, upperBound: 2 },
      ],
      createdTimestamp: nowRead,
    });
  });

  test("exemplars are with their buckets, and bring +Inf along", () => {
    const histogram = new Histogram({
      name: "h",
      help: "H.",
      buckets: [0.5, 1],
      enableExemplars: true,
      registers,
    });
    histogram.observe({ value: 0.7, exemplarLabels: { trace_id: "a" } });
    histogram.observe({ value: 9, exemplarLabels: { trace_id: "b", span_id: "ü" } });
    expect(readHistogram(histogram).bucket).toEqual([
      { cumulativeCount: 0, upperBound: 0.5 },
      {
        cumulativeCount: 1,
        upperBound: 1,
        exemplar: { label: [{ name: "trace_id", value: "a" }], value: 0.7, timestamp: nowRead },
      },
      {
        cumulativeCount: 2,
        upperBound: Number.POSITIVE_INFINITY,
        exemplar: {
          label: [
            { name: "trace_id", value: "b" },
            { name: "span_id", value: "ü" },
          ],
          value: 9,
          timestamp: nowRead,
        },
      },
    ]);
    expect(readHistogram(histogram).exemplars).toBeUndefined();
  });
});

describe("native buckets", () => {
  const native = (values: readonly number[], options: Partial<{ factor: number; zeroThreshold: number }>) => {
    const histogram = new Histogram({
      name: "h",
      help: "H.",
      buckets: false,
      native: { factor: 1.1, ...options },
      registers,
    });
    for (const value of values) histogram.observe(value);
    return readHistogram(histogram);
  };

  // From TestNativeHistogram of client_golang v1.25.0, prometheus/histogram_test.go.
  test("no observations", () => {
    expect(native([], {})).toEqual({
      sampleCount: 0,
      sampleSum: 0,
      schema: 3,
      zeroThreshold: 2.938735877055719e-39,
      zeroCount: 0,
      createdTimestamp: nowRead,
    });
  });

  test("no observations and zero threshold of zero resulting in no-op span", () => {
    expect(native([], { zeroThreshold: 0 })).toEqual({
      sampleCount: 0,
      sampleSum: 0,
      schema: 3,
      zeroThreshold: 0,
      zeroCount: 0,
      positiveSpan: [{ offset: 0, length: 0 }],
      createdTimestamp: nowRead,
    });
  });

  test("factor 1.1 results in schema 3", () => {
    expect(native([0, 1, 2, 3], { factor: 1.1 })).toEqual({
      sampleCount: 4,
      sampleSum: 6,
      schema: 3,
      zeroThreshold: 2.938735877055719e-39,
      zeroCount: 1,
      positiveSpan: [
        { offset: 0, length: 1 },
        { offset: 7, length: 1 },
        { offset: 4, length: 1 },
      ],
      positiveDelta: [1, 0, 0],
      createdTimestamp: nowRead,
    });
  });

  test("negative and positive buckets", () => {
    const values = [0, -1, -1.2, -1.4, -1.8, -2, 1, 1.2, 1.4, 1.8, 2];
    expect(native(values, { factor: 1.2 })).toMatchObject({
      sampleCount: 11,
      schema: 2,
      zeroCount: 1,
      negativeSpan: [{ offset: 0, length: 5 }],
      negativeDelta: [1, -1, 2, -2, 2],
      positiveSpan: [{ offset: 0, length: 5 }],
      positiveDelta: [1, -1, 2, -2, 2],
    });
  });

  test("exemplars are with the histogram, each with its time, next to those of classic buckets", () => {
    const histogram = new Histogram({
      name: "h",
      help: "H.",
      buckets: [1],
      native: { factor: 1.1 },
      enableExemplars: true,
      registers,
    });
    histogram.observe({ value: 0.5, exemplarLabels: { trace_id: "a" } });
    histogram.observe({ value: 2, exemplarLabels: { trace_id: "b" } });
    const exemplars = [
      { label: [{ name: "trace_id", value: "a" }], value: 0.5, timestamp: nowRead },
      { label: [{ name: "trace_id", value: "b" }], value: 2, timestamp: nowRead },
    ];
    const { bucket, exemplars: nativeExemplars } = readHistogram(histogram);
    expect(nativeExemplars).toEqual(exemplars);
    expect(bucket?.map(({ exemplar }) => exemplar)).toEqual(exemplars);
  });

  test("without classic buckets, too", () => {
    const histogram = new Histogram({
      name: "h",
      help: "H.",
      buckets: false,
      native: { factor: 1.1 },
      enableExemplars: true,
      registers,
    });
    histogram.observe({ value: 0.5, exemplarLabels: { trace_id: "a" } });
    histogram.observe({ value: 2, exemplarLabels: { trace_id: "b" } });
    const { bucket, exemplars } = readHistogram(histogram);
    expect(bucket).toBeUndefined();
    expect(exemplars?.map(({ value, timestamp }) => [value, timestamp])).toEqual([
      [2, nowRead],
      [0.5, nowRead],
    ]);
  });

  test("spans and deltas stand for the buckets, whatever the values", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { maxLength: 200 }),
        fc.constantFrom(1.003, 1.1, 2, 1e5),
        fc.constantFrom(0, 1e-3),
        (values, factor, zeroThreshold) => {
          const histogram = new Histogram({
            name: "h",
            help: "H.",
            native: { factor, zeroThreshold },
            registers,
          });
          for (const value of values) histogram.observe(value);
          const { native: buckets } = histogram.labels({});
          const decoded = readHistogram(histogram);
          const pairs = ({ indexes, counts }: NonNullable<typeof buckets>["positive"]) =>
            indexes.map((index, place) => [index, counts[place]]);
          expect(decoded.schema).toBe(buckets?.schema);
          expect(decoded.zeroCount).toBe(buckets?.zeroCount);
          expect(expand(decoded.positiveSpan, decoded.positiveDelta)).toEqual(
            pairs(buckets?.positive as NonNullable<typeof buckets>["positive"]),
          );
          expect(expand(decoded.negativeSpan, decoded.negativeDelta)).toEqual(
            pairs(buckets?.negative as NonNullable<typeof buckets>["negative"]),
          );
          expect(decoded.sampleCount).toBe(values.length);
        },
      ),
    );
  });
});

const anyText = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.constantFrom("", "a".repeat(64), "a".repeat(65), "ü".repeat(64), "a".repeat(60_000)),
);

const anyMetric = fc.record({
  kind: fc.constantFrom("counter", "gauge", "classic", "native", "both"),
  help: anyText.filter((help) => help !== ""),
  series: fc.array(
    fc.record({
      labels: fc.tuple(anyText, anyText),
      values: fc.array(fc.double({ min: 0, max: 1e300, noNaN: true }), { maxLength: 5 }),
      large: fc.constantFrom(0, 127, 128, 2 ** 31, 2 ** 40 + 3, 2 ** 52),
      exemplar: fc.option(fc.string({ maxLength: 50 }), { nil: undefined }),
    }),
    { maxLength: 8 },
  ),
});

test("what is written reads back, is what the library writes, and does not depend on when it is taken", () => {
  fc.assert(
    fc.property(fc.array(anyMetric, { maxLength: 6 }), (specifications) => {
      const metrics = specifications.map(({ kind, help, series }, index) => {
        const common = {
          name: `metric_${index}`,
          help,
          labelNames: ["first", "second"] as const,
          enableExemplars: true,
          registers,
        };
        if (kind === "gauge") {
          const gauge = new Gauge(common);
          for (const { labels, values } of series) gauge.labels(...labels).set(values[0] ?? 0);
          return gauge;
        }
        if (kind === "counter") {
          const counter = new Counter(common);
          for (const { labels, large, exemplar } of series)
            counter.labels(...labels).inc(large, exemplar === undefined ? undefined : { trace_id: exemplar });
          return counter;
        }
        const histogram = new Histogram({
          ...common,
          ...(kind === "native" ? { buckets: false } : {}),
          ...(kind === "classic" ? {} : { native: { factor: 1.1 } }),
        });
        for (const { labels, values, large, exemplar } of series) {
          const one = histogram.labels(...labels);
          for (const value of values)
            one.observe(value, exemplar === undefined ? undefined : { trace_id: exemplar });
          // As after very many values.
          if (kind === "classic")
            (histogram.table.values[one.slot * histogram.table.stride] as number) += large;
        }
        return histogram;
      });
      const bytes = Buffer.concat(encode(metrics));
      const families = readProtobuf(bytes);
      const filled = metrics.filter(({ table }) => table.size > 0);
      expect(families.map(({ name, help }) => [name, help])).toEqual(
        filled.map(({ name, help }) => [name, help.toWellFormed()]),
      );
      for (const [index, metric] of filled.entries()) {
        const series = seriesOf<Series>(metric.table);
        expect(families[index]?.metric?.map(({ label }) => label?.map(({ value }) => value) ?? [])).toEqual(
          series.map(({ labelValues }) =>
            labelValues.flatMap((value) => (value === undefined ? [] : [value.toWellFormed()])),
          ),
        );
      }
      expect(bytes.equals(writeWithLibrary(families))).toBe(true);
      expect(bytes.equals(Buffer.concat(encode(metrics, { takeEvery: 1 })))).toBe(true);
    }),
    { numRuns: 150 },
  );
});

test("a family of many chunks is whole, whatever is taken in between", () => {
  const small = new Gauge({ name: "small", help: "Small.", registers });
  const large = new Histogram({
    name: "large",
    help: "Large.",
    labelNames: ["number", "text"],
    maxSeries: 4000,
    registers,
  });
  for (let index = 0; index < 3000; index += 1)
    large.labels({ number: index, text: "x".repeat(index % 150) }).observe(index);
  const other = new Counter({ name: "other_total", help: "Other.", registers });
  const metrics = [small, large, small, other, large, other];
  const chunks = encode(metrics, { takeEvery: 1 });
  expect(chunks.length).toBeGreaterThan(20);
  const bytes = Buffer.concat(chunks);
  for (const takeEvery of [1700, 4000, Number.POSITIVE_INFINITY])
    expect(bytes.equals(Buffer.concat(encode(metrics, { takeEvery })))).toBe(true);
  const families = readProtobuf(bytes);
  expect(families.map(({ name, metric }) => [name, metric?.length])).toEqual(
    metrics.map(({ name, table }) => [name, table.size]),
  );
  expect(families[1]?.metric?.map(({ histogram }) => histogram?.sampleSum)).toEqual(
    Array.from({ length: 3000 }, (_, index) => index),
  );
  expect(families[4]).toEqual(families[1]);
});

test.each([
  ["classic buckets", { bounds: 600, native: false, exemplarEvery: 0 }],
  ["classic buckets with exemplars", { bounds: 600, native: false, exemplarEvery: 2 }],
  ["native buckets", { bounds: 0, native: true, exemplarEvery: 0 }],
  ["both, larger than a chunk", { bounds: 4000, native: true, exemplarEvery: 100 }],
])("series with many %s are whole", (_, { bounds, native, exemplarEvery }) => {
  const histogram = new Histogram({
    name: "h",
    help: "H.",
    labelNames: ["number"],
    buckets: bounds > 0 && Array.from({ length: bounds }, (_, index) => index / 1000),
    ...(native ? { native: { factor: 1.0001, maxBuckets: 10_000 } } : {}),
    enableExemplars: true,
    registers,
  });
  const count = Math.max(bounds, 2000);
  for (let number = 0; number < 8; number += 1) {
    const series = histogram.labels(number);
    for (let index = 0; index < count; index += 1)
      series.observe(
        bounds > 0 ? index / 1000 : 2 ** (index / 50 - 20),
        index % exemplarEvery === 0 ? { trace_id: "t".repeat(100) } : undefined,
      );
  }
  const bytes = Buffer.concat(encode([histogram], { takeEvery: 1 }));
  const [family] = readProtobuf(bytes);
  expect(bytes.equals(writeWithLibrary(family === undefined ? [] : [family]))).toBe(true);
  expect(family?.metric?.length).toBe(8);
  for (const [number, metric] of family?.metric?.entries() ?? []) {
    const { bucket = [], positiveSpan, positiveDelta, zeroCount = 0 } = metric.histogram ?? {};
    expect(bucket.filter(({ upperBound }) => upperBound < 1e9).length).toBe(bounds);
    const { positive } = histogram.labels(number).native ?? { positive: { indexes: [], counts: [] } };
    const pairs = expand(positiveSpan, positiveDelta);
    expect(pairs).toEqual(positive.indexes.map((index, place) => [index, positive.counts[place]]));
    if (native) expect(pairs.reduce((sum, [, one]) => sum + one, zeroCount)).toBe(count);
  }
});

test("what is written does not depend on where a chunk ends", () => {
  const create = (buckets: readonly number[] | false, native: NativeOptions | undefined) => {
    const histogram = new Histogram({
      name: "h",
      help: "H.",
      buckets,
      native,
      enableExemplars: true,
      registers,
    });
    for (let index = 0; index < 700; index += 1)
      histogram.observe({
        value: index,
        ...(index % 5 < 2 ? { exemplarLabels: { trace_id: "t".repeat(index % 50) } } : {}),
      });
    for (let exponent = -60; exponent < 60; exponent += 0.2) histogram.observe({ value: 2 ** exponent });
    return histogram;
  };
  const bounds = Array.from({ length: 300 }, (_, index) => index);
  for (const histogram of [create(bounds, undefined), create(false, { factor: 1.005, maxBuckets: 5000 })]) {
    const alone = Buffer.concat(encode([histogram]));
    for (let length = 64 * 1024 - alone.length - 100; length < 64 * 1024 - 3900; length += 13) {
      const filler = new Gauge({ name: "filler", help: "Filler.", labelNames: ["text"], registers });
      for (let rest = length; rest > 0; rest -= 1000)
        filler.set({ text: "x".repeat(Math.min(rest, 1000)) + rest }, 1);
      const expected = Buffer.concat([...encode([filler]), alone]);
      if (!expected.equals(Buffer.concat(encode([filler, histogram])))) expect.fail(`${length} bytes before`);
    }
  }
});

test("chunks stay small, however large series are", () => {
  const gauge = new Gauge({ name: "g", help: "G.", labelNames: ["a"], registers });
  for (let n = 0; n < 300; n += 1) gauge.set({ a: "é".repeat(10_000) + n }, n);
  const chunks = encode([gauge]);
  expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThan(96 * 1024);
  const values = readProtobuf(Buffer.concat(chunks))[0]?.metric?.map(({ label }) => label?.[0]?.value);
  expect(values).toEqual(Array.from({ length: 300 }, (_, n) => "é".repeat(10_000) + n));
});

test("chunks that were taken do not change any more", () => {
  const metrics = Array.from({ length: 300 }, (_, index) => {
    const gauge = new Gauge({ name: `g${index}`, help: "x".repeat(1000), registers });
    gauge.set(index);
    return gauge;
  }) as readonly unknown[] as readonly AnyMetric[];
  const encoder = createProtobufEncoder({ escaping: "allow-utf-8", defaultLabels: {} });
  const taken: { readonly chunk: Uint8Array; readonly copy: Uint8Array }[] = [];
  for (const metric of metrics) {
    encoder.beginMetric(metric, metric.name);
    for (const series of seriesOf(metric.table)) encoder.writeSeries(series);
    encoder.endMetric();
    for (const chunk of encoder.take()) taken.push({ chunk, copy: chunk.slice() });
  }
  expect(taken.length).toBeGreaterThan(2);
  for (const { chunk, copy } of taken) expect(Buffer.compare(chunk, copy)).toBe(0);
});
