// How an entry of the metric catalogue is written: what a metric is, which labels with which values it may have, why
// its buckets lie where they do, and what it is for.

/** What a label's value may be: one of these, or at most so many different ones. */
export type LabelRule = ClosedLabel | OpenLabel;

export interface ClosedLabel<Value extends string = string> {
  readonly values: readonly Value[];
}

export interface OpenLabel {
  /** What the values are, for people. */
  readonly about: string;
  /** How many different ones there may be, and by what that is bounded. */
  readonly atMost: number;
}

export type LabelRules = Readonly<Record<string, LabelRule>>;

interface Common<Labels extends LabelRules> {
  readonly help: string;
  /** As OpenMetrics has it; the name ends with it (before `_total`). */
  readonly unit?: "seconds" | "bytes" | "ratio";
  readonly labels: Labels;
  /** Dashboards and alerts that it is for. */
  readonly usedBy: readonly string[];
  /** Label sets that it may have, if not 2,000. */
  readonly maxSeries?: number;
}

export interface CounterEntry<Labels extends LabelRules = LabelRules> extends Common<Labels> {
  readonly type: "counter";
}

export interface GaugeEntry<Labels extends LabelRules = LabelRules> extends Common<Labels> {
  readonly type: "gauge";
}

export interface HistogramEntry<Labels extends LabelRules = LabelRules> extends Common<Labels> {
  readonly type: "histogram";
  /** Upper bounds of the classic buckets, without +Inf. */
  readonly buckets: readonly number[];
  readonly bucketsWhy: string;
  /** Whether scrapers that can read native histograms get one, with buckets that grow by at most 10 %. */
  readonly native: boolean;
}

export type CatalogueEntry = CounterEntry | GaugeEntry | HistogramEntry;

type Written<Entry> = Omit<Entry, "type">;

export function counter<const Labels extends LabelRules>(
  entry: Written<CounterEntry<Labels>>,
): CounterEntry<Labels> {
  return { type: "counter", ...entry };
}

export function gauge<const Labels extends LabelRules>(
  entry: Written<GaugeEntry<Labels>>,
): GaugeEntry<Labels> {
  return { type: "gauge", ...entry };
}

export function histogram<const Labels extends LabelRules>(
  entry: Written<HistogramEntry<Labels>>,
): HistogramEntry<Labels> {
  return { type: "histogram", ...entry };
}

/** A label that has one of these values. */
export function oneOf<const Value extends string>(...values: readonly Value[]): ClosedLabel<Value> {
  return { values };
}

/** A label whose values are not known here. */
export function atMost(bound: number, about: string): OpenLabel {
  return { atMost: bound, about };
}
