/** @public as in the official client */
export { exponentialBuckets, linearBuckets } from "./bucket-generators.ts";
export {
  Counter,
  type CounterConfiguration,
  type CounterSeries,
  type IncreaseDataWithExemplar,
} from "./counter.ts";
export type { Exemplar, ExemplarLabels } from "./exemplar.ts";
export type { Escaping, Format } from "./exposition/format.ts";
export { contentTypeOf, negotiate } from "./exposition/negotiation.ts";
export { Gauge, type GaugeConfiguration, type GaugeSeries } from "./gauge.ts";
export {
  Histogram,
  type HistogramConfiguration,
  type HistogramSeries,
  type ObserveDataWithExemplar,
} from "./histogram.ts";
export type { MetricConfiguration } from "./metric.ts";
export type {
  MetricObjectWithValues,
  MetricType,
  MetricValue,
  MetricValueWithName,
} from "./metric-values.ts";
export type { NativeOptions } from "./native-buckets.ts";
/** @public as in the official client */
export { type AnyMetric, Registry, register } from "./registry.ts";
export { type ScrapeOptions, scrape } from "./scrape.ts";
export type { LabelValue, LabelValues } from "./series-table.ts";
