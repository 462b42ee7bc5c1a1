// The one way to an instrument: by its name in the catalogue, with the labels that it has there.
import { Counter, type ExemplarLabels, Gauge, Histogram, type Registry } from "@ectus/metrics";
import { catalogue, type LabelsOf, type MetricName, type NameOf } from "./catalogue.ts";

export interface CounterHandle {
  /** Adds to the counter; 1 when no value is given. */
  inc(value?: number, exemplar?: ExemplarLabels): void;
}

export interface GaugeHandle {
  set(value: number): void;
  inc(value?: number): void;
  dec(value?: number): void;
}

export interface HistogramHandle {
  observe(value: number, exemplar?: ExemplarLabels): void;
}

/** A metric of the catalogue. */
export interface Instrument<Labels, Handle> {
  /** The series of these labels. It can be kept; a kept one is faster. */
  labels(labels: Labels): Handle;
  /** Removes the series of these labels. */
  remove(labels: Labels): void;
  /** Removes all series; one without labels begins again at 0. */
  reset(): void;
  /** Removes all series, that of a metric without labels too. It is made again when it gets a value. */
  clear(): void;
  /** The collect callback is not called any more; another one may be given. */
  stopCollecting(): void;
}

export type CounterOf<Name extends NameOf<"counter">> = Instrument<LabelsOf<Name>, CounterHandle>;
export type GaugeOf<Name extends NameOf<"gauge">> = Instrument<LabelsOf<Name>, GaugeHandle>;
export type HistogramOf<Name extends NameOf<"histogram">> = Instrument<LabelsOf<Name>, HistogramHandle>;

type Collect<Of> = (instrument: Of) => void | Promise<void>;

/**
 * Each name gives one instrument, however often it is asked for. `collect` is called before each scrape; there is one of
 * a metric at a time.
 */
export interface Instruments {
  /** Whether anything is measured: what only serves the measuring may be left out otherwise. */
  readonly enabled: boolean;
  counter<Name extends NameOf<"counter">>(name: Name, collect?: Collect<CounterOf<Name>>): CounterOf<Name>;
  gauge<Name extends NameOf<"gauge">>(name: Name, collect?: Collect<GaugeOf<Name>>): GaugeOf<Name>;
  histogram<Name extends NameOf<"histogram">>(name: Name): HistogramOf<Name>;
}

type AnyHandle = CounterHandle & GaugeHandle & HistogramHandle;
type AnyInstrument = Instrument<Readonly<Record<string, string | number>>, AnyHandle>;

// 2^(1/8) = 1.0905: a value read from a bucket is at most 4.4 % off.
const native = { factor: 1.1, maxBuckets: 160 };

/** Instruments that measure into `registry`. */
export function createInstruments(registry: Registry): Instruments {
  const made = new Map<string, Made>();
  function make(name: MetricName, collect?: Collect<never>): AnyInstrument {
    const known = made.get(name) ?? create(name, registry);
    made.set(name, known);
    if (collect !== undefined) {
      if (known.collect !== undefined) throw new Error(`The metric ${name} has a collect callback already.`);
      known.collect = collect as Collect<unknown>;
    }
    return known.instrument;
  }
  return { enabled: true, counter: make, gauge: make, histogram: make } as Instruments;
}

interface Made {
  readonly instrument: AnyInstrument;
  collect: Collect<unknown> | undefined;
}

function create(name: MetricName, registry: Registry): Made {
  const entry = catalogue[name];
  const metric = createMetric(entry, {
    name,
    help: entry.help,
    labelNames: Object.keys(entry.labels),
    registers: [registry],
    ...("unit" in entry ? { unit: entry.unit } : {}),
    ...("maxSeries" in entry ? { maxSeries: entry.maxSeries as number } : {}),
    ...(entry.type === "histogram" ? {} : { collect: () => known.collect?.(known.instrument) }),
  });
  const known: Made = {
    instrument: Object.assign(metric, {
      clear: () => metric.table.clear(),
      stopCollecting() {
        known.collect = undefined;
      },
    }) as unknown as AnyInstrument,
    collect: undefined,
  };
  return known;
}

function createMetric(
  entry: (typeof catalogue)[MetricName],
  configuration: ConstructorParameters<typeof Counter<string>>[0],
): Counter<string> | Gauge<string> | Histogram<string> {
  switch (entry.type) {
    case "counter":
      return new Counter(configuration);
    case "gauge":
      return new Gauge(configuration as ConstructorParameters<typeof Gauge<string>>[0]);
    case "histogram":
      return new Histogram({
        ...(configuration as ConstructorParameters<typeof Histogram<string>>[0]),
        buckets: entry.buckets,
        ...(entry.native ? { native } : {}),
      });
  }
}

const nothing: AnyHandle = { inc() {}, set() {}, dec() {}, observe() {} };
const noInstrument: AnyInstrument = {
  labels: () => nothing,
  remove() {},
  reset() {},
  clear() {},
  stopCollecting() {},
};

/** Instruments that measure nothing, for `METRICS_ENABLED=false`. */
export const noInstruments: Instruments = {
  enabled: false,
  counter: () => noInstrument,
  gauge: () => noInstrument,
  histogram: () => noInstrument,
} as Instruments;
