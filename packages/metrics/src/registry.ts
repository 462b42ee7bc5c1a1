// The metrics that one scrape shows.
import type { Format } from "./exposition/format.ts";
import { seriesNames } from "./exposition/name-escaping.ts";
import type { Metric } from "./metric.ts";
import type { MetricObjectWithValues, MetricValueWithName } from "./metric-values.ts";
import { checkLabelNames } from "./names.ts";
import { type ScrapeOptions, scrape, scrapeMetrics } from "./scrape.ts";
import type { LabelValue, Series } from "./series-table.ts";

/** Any metric, for what is the same with all of them. */
export type AnyMetric = Metric<string, Series>;

const formats = {
  "text/plain; version=0.0.4; charset=utf-8": { kind: "text", version: "0.0.4", escaping: "underscores" },
  "application/openmetrics-text; version=1.0.0; charset=utf-8": {
    kind: "openmetrics",
    version: "1.0.0",
    escaping: "underscores",
  },
} as const satisfies Record<string, Format>;

/** Of the official client. What a scraper gets is negotiated; see negotiate and scrape. */
export type RegistryContentType = keyof typeof formats;

export class Registry {
  static get PROMETHEUS_CONTENT_TYPE(): RegistryContentType {
    return "text/plain; version=0.0.4; charset=utf-8";
  }

  static get OPENMETRICS_CONTENT_TYPE(): RegistryContentType {
    return "application/openmetrics-text; version=1.0.0; charset=utf-8";
  }

  readonly #metrics = new Map<string, AnyMetric>();
  /** By each name that its series have. */
  readonly #bySeriesName = new Map<string, AnyMetric>();
  #defaultLabels: Readonly<Record<string, LabelValue>> = {};
  #contentType: RegistryContentType;

  /** @throws TypeError */
  constructor(contentType: RegistryContentType = Registry.PROMETHEUS_CONTENT_TYPE) {
    this.#contentType = checkContentType(contentType);
  }

  /** What `metrics` gives. */
  get contentType(): RegistryContentType {
    return this.#contentType;
  }

  /** @throws TypeError */
  setContentType(contentType: RegistryContentType): void {
    this.#contentType = checkContentType(contentType);
  }

  /** All metrics as text, in slices, as `scrape` does. One whose collect callback fails is left out. */
  metrics(options: Omit<ScrapeOptions, "format"> = {}): Promise<string> {
    return textOf(scrape(this, { ...options, format: formats[this.#contentType] }));
  }

  /** One metric as text, without a line feed at its end. @throws what its collect callback throws */
  async getMetricsAsString(metric: AnyMetric): Promise<string> {
    const failed: unknown[] = [];
    const text = await textOf(
      scrapeMetrics([metric], this.#defaultLabels, {
        format: formats[this.#contentType],
        onCollectError: (_, error) => failed.push(error),
      }),
    );
    if (failed.length > 0) throw failed[0];
    return text.replace(/\n(# EOF\n)?$/, "");
  }

  /** @throws TypeError when there is no metric of that name */
  async getSingleMetricAsString(name: string): Promise<string> {
    const metric = this.#metrics.get(name);
    if (metric === undefined) throw new TypeError(`there is no metric ${name}`);
    return this.getMetricsAsString(metric);
  }

  /** A registry of the metrics of several. @throws TypeError when their content types differ */
  static merge(registries: readonly Registry[]): Registry {
    const merged = new Registry(registries[0]?.contentType);
    for (const registry of registries) {
      if (registry.contentType !== merged.contentType)
        throw new TypeError(`got registries of ${merged.contentType} and ${registry.contentType}`);
      for (const metric of registry.getMetricsAsArray()) merged.registerMetric(metric);
    }
    return merged;
  }

  /** @throws Error when there is another metric of that name, or one whose series would be called the same */
  registerMetric(metric: AnyMetric): void {
    const existing = this.#metrics.get(metric.name);
    if (existing === metric) return;
    if (existing !== undefined)
      throw new Error(`A metric with the name ${metric.name} has already been registered.`);
    const names = seriesNames(metric, metric.name);
    for (const name of names) {
      const other = this.#bySeriesName.get(name);
      if (other !== undefined)
        throw new Error(`The metrics ${metric.name} and ${other.name} both have series called ${name}.`);
    }
    for (const name of names) this.#bySeriesName.set(name, metric);
    this.#metrics.set(metric.name, metric);
  }

  getSingleMetric(name: string): AnyMetric | undefined {
    return this.#metrics.get(name);
  }

  getMetricsAsArray(): AnyMetric[] {
    return [...this.#metrics.values()];
  }

  /** All metrics with all their values. @throws what a collect callback throws */
  async getMetricsAsJSON(): Promise<MetricObjectWithValues<MetricValueWithName<string>>[]> {
    const objects = await Promise.all(this.getMetricsAsArray().map((metric) => metric.get()));
    return objects.map((object) => ({
      ...object,
      values: object.values.map((value) => ({
        ...value,
        labels: { ...this.#defaultLabels, ...value.labels },
      })),
    }));
  }

  removeSingleMetric(name: string): void {
    const metric = this.#metrics.get(name);
    if (metric === undefined) return;
    this.#metrics.delete(name);
    for (const seriesName of seriesNames(metric, name)) this.#bySeriesName.delete(seriesName);
  }

  /** Removes all metrics and the default labels. */
  clear(): void {
    this.#metrics.clear();
    this.#bySeriesName.clear();
    this.#defaultLabels = {};
  }

  /** Resets all metrics. */
  resetMetrics(): void {
    for (const metric of this.#metrics.values()) metric.reset();
  }

  /**
   * Labels of every series of this registry that does not have them itself. A series that leaves such a label out is
   * then the same as one that has it with this value: let a metric's series all have it, or none.
   * @throws TypeError for a name that a label cannot have
   */
  setDefaultLabels(labels: Readonly<Record<string, LabelValue>>): void {
    checkLabelNames("(default labels)", Object.keys(labels));
    this.#defaultLabels = { ...labels };
  }

  get defaultLabels(): Readonly<Record<string, LabelValue>> {
    return this.#defaultLabels;
  }
}

function checkContentType(contentType: RegistryContentType): RegistryContentType {
  if (Object.hasOwn(formats, contentType)) return contentType;
  throw new TypeError(
    `Content type ${contentType} is unsupported: accepts ${Object.keys(formats).join(" or ")}`,
  );
}

async function textOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  // A chunk ends between two characters.
  for await (const chunk of chunks)
    text += Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString();
  return text;
}

/** Where metrics are registered that name no registry, as in the official client. This platform passes its own. */
export const register = new Registry();
