// The same calls on the official client and on ours give the same text.
//
// Deviations, all of which these tests leave out or mend:
// - NaN is "NaN" and not "Nan", which Go's parser happens to take, though no format has it.
// - Labels stand in the order of the metric's labelNames, there in that of the call that made the series. The calls
//   here name them in order.
// - In OpenMetrics a counter that is not called _total keeps its name and is of unknown type; there it is given one.
//   Bounds are canonical ("1.0"), quotes in help are escaped, and no blank is where the format allows none.
// - A label that is empty is left out, being the same as none to every reader.
// - A bucket with the bound -1 counts what it should; there it counts what is above all bounds, too.
// - A histogram without labels is there with zeros after reset(), as it was at the beginning; there it is gone.
// - A default label for which the metric has a name, but the series no value, stands at that label's place.
import official from "@prometheus-io/client";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Counter } from "../counter.ts";
import { Gauge } from "../gauge.ts";
import { Histogram } from "../histogram.ts";
import { Registry } from "../registry.ts";

const labelNames = ["method", "path"] as const;
type Labels = Partial<Record<(typeof labelNames)[number], string>>;

// "|" is what the official client joins label values with: {method: "|"} is the same series as {path: "|"} to it.
const labelValue = fc
  .oneof(
    fc.constantFrom("GET", "\\", '"', "\n", "/v1/é花"),
    fc.string({ unit: "binary", minLength: 1, maxLength: 8 }),
  )
  .map((value) => value.toWellFormed().replaceAll("|", "/"));

const labels: fc.Arbitrary<Labels> = fc
  .tuple(fc.option(labelValue, { nil: undefined }), fc.option(labelValue, { nil: undefined }))
  .map(([method, path]) => ({
    ...(method === undefined ? {} : { method }),
    ...(path === undefined ? {} : { path }),
  }));

const amount = fc.oneof(
  fc.nat(20),
  fc.double({ min: 0, max: 1e300, noNaN: true }),
  fc.constantFrom(0, 0.1, 1e-7, 2 ** 31, 2 ** 32, 1e21),
);
const anyNumber = fc.oneof(
  amount,
  fc.double({ noNaN: true }),
  fc.constantFrom(-0, -1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
);

type Call =
  | {
      readonly on: "counter" | "plainCounter" | "histogram" | "plainHistogram";
      readonly labels: Labels;
      readonly value: number;
    }
  | {
      readonly on: "gauge";
      readonly labels: Labels;
      readonly value: number;
      readonly how: "set" | "inc" | "dec";
    }
  | { readonly on: "remove"; readonly from: "counter" | "gauge" | "histogram"; readonly labels: Labels }
  | { readonly on: "reset"; readonly from: "counter" | "plainCounter" | "gauge" | "histogram" };

const call: fc.Arbitrary<Call> = fc.oneof(
  fc.record({
    on: fc.constantFrom(
      "counter" as const,
      "plainCounter" as const,
      "histogram" as const,
      "plainHistogram" as const,
    ),
    labels,
    value: amount,
  }),
  fc.record({
    on: fc.constant("gauge" as const),
    labels,
    value: anyNumber,
    how: fc.constantFrom("set" as const, "inc" as const, "dec" as const),
  }),
  fc.record({
    on: fc.constant("remove" as const),
    from: fc.constantFrom("counter" as const, "gauge" as const, "histogram" as const),
    labels,
  }),
  fc.record({
    on: fc.constant("reset" as const),
    from: fc.constantFrom(
      "counter" as const,
      "plainCounter" as const,
      "gauge" as const,
      "histogram" as const,
    ),
  }),
);

const help = fc.string({ unit: "binary", minLength: 1 }).map((text) => text.toWellFormed());

const buckets = fc
  .uniqueArray(fc.oneof(fc.integer({ min: -5, max: 10 }), fc.double({ min: -1e9, max: 1e9, noNaN: true })), {
    minLength: 1,
    maxLength: 6,
  })
  .map((bounds) => bounds.map((bound) => bound + 0).toSorted((one, other) => one - other))
  .filter((bounds) => new Set(bounds).size === bounds.length && !bounds.includes(-1));

const defaultLabels = fc.dictionary(fc.constantFrom("app", "zone"), fc.constantFrom("shop", 'a"b', "1"), {
  maxKeys: 2,
});

interface Setup {
  readonly help: string;
  readonly buckets: number[];
  readonly defaultLabels: Record<string, string>;
}

const setup: fc.Arbitrary<Setup> = fc.record({ help, buckets, defaultLabels });

interface Client {
  Registry: new (
    contentType?: never,
  ) => {
    metrics(): Promise<string>;
    getSingleMetricAsString(name: string): Promise<string>;
    setDefaultLabels(labels: object): void;
    setContentType(contentType: never): void;
  };
  Counter: new (configuration: never) => Instrument;
  Gauge: new (configuration: never) => Instrument;
  Histogram: new (configuration: never) => Instrument;
}

interface Instrument {
  inc(...values: unknown[]): void;
  dec(...values: unknown[]): void;
  set(...values: unknown[]): void;
  observe(...values: unknown[]): void;
  remove(...values: unknown[]): void;
  reset(): void;
}

function play(client: Client, { help, buckets, defaultLabels }: Setup, calls: readonly Call[]) {
  const registry = new client.Registry();
  registry.setDefaultLabels(defaultLabels);
  const common = { help, labelNames, registers: [registry] };
  const create = (kind: "Counter" | "Gauge" | "Histogram", configuration: object) =>
    new client[kind](configuration as never);
  const instruments = {
    counter: create("Counter", { ...common, name: "requests_total" }),
    plainCounter: create("Counter", { ...common, name: "starts_total", labelNames: [] }),
    gauge: create("Gauge", { ...common, name: "temperature" }),
    histogram: create("Histogram", { ...common, name: "duration_seconds", buckets }),
    plainHistogram: create("Histogram", { ...common, name: "size_bytes", labelNames: [] }),
  };
  for (const step of calls) {
    switch (step.on) {
      case "counter":
        instruments.counter.inc(step.labels, step.value);
        break;
      case "plainCounter":
        instruments.plainCounter.inc(step.value);
        break;
      case "gauge":
        // What is no number any more after this stays so, and is spelled otherwise.
        instruments.gauge[step.how](step.labels, step.value);
        break;
      case "histogram":
        instruments.histogram.observe(step.labels, step.value);
        break;
      case "plainHistogram":
        instruments.plainHistogram.observe(step.value);
        break;
      case "remove":
        instruments[step.from].remove(step.labels);
        break;
      case "reset":
        instruments[step.from].reset();
    }
  }
  return registry;
}

const ours: Client = { Registry, Counter, Gauge, Histogram } as never;
const theirs: Client = official as never;

test("text 0.0.4 is the same to the byte", async () => {
  await fc.assert(
    fc.asyncProperty(setup, fc.array(call, { maxLength: 40 }), async (options, calls) => {
      const reference = play(theirs, options, calls);
      const subject = play(ours, options, calls);
      expect(await subject.metrics()).toBe((await reference.metrics()).replaceAll(/ Nan$/gm, " NaN"));
      expect(await subject.getSingleMetricAsString("duration_seconds")).toBe(
        await reference.getSingleMetricAsString("duration_seconds"),
      );
    }),
    { numRuns: 200 },
  );
});

test("OpenMetrics is the same but for quotes in help and the spelling of bounds", async () => {
  const openMetrics = Registry.OPENMETRICS_CONTENT_TYPE as never;
  await fc.assert(
    fc.asyncProperty(setup, fc.array(call, { maxLength: 40 }), async (options, calls) => {
      // Integers below 1,000,000 are the bounds that both write without an exponent.
      const alike = { ...options, help: options.help.replaceAll('"', "'"), buckets: [1, 2, 500] };
      const reference = play(theirs, alike, calls);
      const subject = play(ours, alike, calls);
      reference.setContentType(openMetrics);
      subject.setContentType(openMetrics);
      const canonical = (await reference.metrics())
        .replaceAll(/ Nan$/gm, " NaN")
        .replaceAll(/^(\w+_bucket\{le="\d+)"/gm, '$1.0"');
      expect(await subject.metrics()).toBe(canonical);
    }),
    { numRuns: 100 },
  );
});
