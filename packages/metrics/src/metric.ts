// What all kinds of metrics have in common: name, help, labels, and the table of their series.
import type { MetricObjectWithValues, MetricType, MetricValueWithName } from "./metric-values.ts";
import { checkLabelNames, checkMetricName } from "./names.ts";
import { type Registry, register } from "./registry.ts";
import {
  defaultMaxSeries,
  type LabelValue,
  type LabelValues,
  type Series,
  SeriesTable,
  type SeriesTableOptions,
} from "./series-table.ts";

export type { MetricType } from "./metric-values.ts";

export interface MetricConfiguration<Names extends string, Self> {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly Names[] | undefined;
  /** Where it is registered; in the default registry when left out. */
  readonly registers?: readonly Registry[] | undefined;
  /** Called at each scrape, before the values are read. */
  readonly collect?: ((this: Self) => void | Promise<void>) | undefined;
  /** Unit of the values, as OpenMetrics has it: the name ends with it. */
  readonly unit?: string | undefined;
  /** Label sets that it may have; 2,000 by default. What goes past is counted in one series, "overflow". */
  readonly maxSeries?: number | undefined;
}

export abstract class Metric<Names extends string, S extends Series> {
  abstract readonly type: MetricType;
  readonly name: string;
  readonly help: string;
  readonly unit: string | undefined;
  readonly labelNames: readonly Names[];
  readonly table: SeriesTable<S>;
  readonly collect: (() => void | Promise<void>) | undefined;

  constructor(
    configuration: MetricConfiguration<Names, never>,
    tableOptions: Pick<SeriesTableOptions<S>, "stride" | "create" | "onFree">,
  ) {
    const { name, help, labelNames = [], collect, unit, maxSeries = defaultMaxSeries } = configuration;
    checkMetricName(name);
    if (typeof help !== "string" || help === "") throw new TypeError(`the metric ${name} has no help`);
    checkLabelNames(name, labelNames);
    if (collect !== undefined && typeof collect !== "function")
      throw new TypeError(`collect of the metric ${name} is no function`);
    if (!(Number.isInteger(maxSeries) && maxSeries >= 1))
      throw new RangeError(`the metric ${name} got maxSeries ${maxSeries}, accepts a whole number from 1 on`);
    this.name = name;
    this.help = help;
    this.unit = unit;
    this.labelNames = [...labelNames];
    this.collect = collect as (() => void | Promise<void>) | undefined;
    this.table = new SeriesTable({ labelNames: this.labelNames, maxSeries, ...tableOptions });
  }

  /** For the kinds of metrics, when they are set up: the series of one without labels, and the registries. */
  protected begin(registers: readonly Registry[] = [register]): void {
    if (this.labelNames.length === 0) this.table.slotOf(noLabels);
    for (const registry of registers) registry.registerMetric(this);
  }

  /**
   * The series of these label values, in the order of the label names or by name. It is there from now on, and can be
   * kept, after `remove` and `reset`, too.
   */
  labels(...values: readonly LabelValue[] | readonly [LabelValues<Names>]): S {
    const [first] = values;
    return typeof first === "object"
      ? this.table.find((first ?? noLabels) as LabelValues<string>)
      : this.table.findByValues(values as readonly LabelValue[]);
  }

  /** Removes the series of these label values. */
  remove(...values: readonly LabelValue[] | readonly [LabelValues<Names>]): void {
    const [first] = values;
    if (typeof first === "object") this.table.remove((first ?? noLabels) as LabelValues<string>);
    else this.table.removeByValues(values as readonly LabelValue[]);
  }

  /** Removes all series; one without labels begins again at 0. */
  reset(): void {
    this.table.clear();
    if (this.labelNames.length === 0) this.table.slotOf(noLabels);
  }

  /** The metric with all its values, after its `collect`. */
  async get(): Promise<MetricObjectWithValues<MetricValueWithName<Names>>> {
    await this.collect?.();
    const { name, help, type, table } = this;
    const values: MetricValueWithName<Names>[] = [];
    for (let slot = 0; slot < table.end; slot += 1)
      if ((table.numbers[slot] as number) >= 0) values.push(...this.valuesAt(slot, table.labelsAt(slot)));
    return { name, help, type, values };
  }

  /** The values of a series for `get`. */
  protected abstract valuesAt(slot: number, labels: Record<string, string>): MetricValueWithName<Names>[];
}

export const noLabels: Readonly<Record<string, never>> = Object.freeze({});

/** Whether a call has one object with labels, value and exemplar in it, and not the labels themselves. */
export function isExemplarForm(given: object): boolean {
  return "value" in given || "exemplarLabels" in given || "labels" in given;
}
