// A value that goes up and down.
import { Metric, type MetricConfiguration, noLabels } from "./metric.ts";
import type { MetricValue } from "./metric-values.ts";
import { type LabelValues, Series, type SeriesTable } from "./series-table.ts";

export type GaugeConfiguration<Names extends string> = MetricConfiguration<Names, Gauge<Names>>;

/** One label set of a gauge. */
export class GaugeSeries<Names extends string = string> extends Series {
  /** @throws TypeError for what is no number */
  set(value: number): void {
    checkNumber(value);
    const slot = this.slot < 0 ? this.again() : this.slot;
    this.table.values[slot] = value;
  }

  inc(value?: number): void {
    const by = value ?? 1;
    checkNumber(by);
    const slot = this.slot < 0 ? this.again() : this.slot;
    (this.table.values[slot] as number) += by;
  }

  dec(value?: number): void {
    const by = value ?? 1;
    checkNumber(by);
    this.inc(-by);
  }

  setToCurrentTime(): void {
    this.set(Date.now() / 1000);
  }

  /** Gives a function that sets the seconds since now, and returns them; it may add labels that are known only then. */
  startTimer(): (endLabels?: LabelValues<Names>) => number {
    const startedMs = performance.now();
    return (endLabels) => {
      const seconds = (performance.now() - startedMs) / 1000;
      if (endLabels === undefined) this.set(seconds);
      else setAtSlot(this.table, this.table.slotOf({ ...this.labels, ...endLabels }), seconds);
      return seconds;
    };
  }
}

export class Gauge<Names extends string = never> extends Metric<Names, GaugeSeries<Names>> {
  readonly type = "gauge";

  constructor(configuration: GaugeConfiguration<Names>) {
    let table: SeriesTable<GaugeSeries<Names>> | undefined;
    super(configuration, {
      stride: 1,
      create: (slot) => new GaugeSeries<Names>(slot, table as SeriesTable<GaugeSeries<Names>>),
    });
    table = this.table;
    this.begin(configuration.registers);
  }

  /** @throws TypeError for what is no number and for a label that it does not have */
  set(value: number): void;
  set(labels: LabelValues<Names>, value: number): void;
  set(first: number | LabelValues<Names>, value?: number): void {
    const to = isLabels(first) ? (value as number) : first;
    checkNumber(to);
    setAtSlot(this.table, this.#slotOf(first), to);
  }

  /** Adds to a series; 1 when no value is given. */
  inc(value?: number): void;
  inc(labels: LabelValues<Names>, value?: number): void;
  inc(first?: number | LabelValues<Names>, value?: number): void {
    this.#add(first, (isLabels(first) ? value : first) ?? 1, 1);
  }

  /** Subtracts from a series; 1 when no value is given. */
  dec(value?: number): void;
  dec(labels: LabelValues<Names>, value?: number): void;
  dec(first?: number | LabelValues<Names>, value?: number): void {
    this.#add(first, (isLabels(first) ? value : first) ?? 1, -1);
  }

  setToCurrentTime(labels?: LabelValues<Names>): void {
    setAtSlot(this.table, this.#slotOf(labels), Date.now() / 1000);
  }

  /** Gives a function that sets the seconds since now, and returns them; it may add labels that are known only then. */
  startTimer(labels?: LabelValues<Names>): (endLabels?: LabelValues<Names>) => number {
    const startedMs = performance.now();
    return (endLabels) => {
      const seconds = (performance.now() - startedMs) / 1000;
      setAtSlot(this.table, this.table.slotOf({ ...labels, ...endLabels }), seconds);
      return seconds;
    };
  }

  protected override valuesAt(slot: number, labels: Record<string, string>): MetricValue<Names>[] {
    return [{ labels: labels as LabelValues<Names>, value: this.table.values[slot] as number }];
  }

  #add(first: number | LabelValues<Names> | undefined, by: number, sign: 1 | -1): void {
    checkNumber(by);
    const slot = this.#slotOf(first);
    (this.table.values[slot] as number) += sign * by;
  }

  #slotOf(first: number | LabelValues<Names> | undefined): number {
    return this.table.slotOf(isLabels(first) ? (first as LabelValues<string>) : noLabels);
  }
}

/** With `values[slotOf(labels)] = to` the array would be that from before `slotOf` made it grow. */
function setAtSlot({ values }: { readonly values: Float64Array }, slot: number, to: number): void {
  values[slot] = to;
}

function isLabels(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function checkNumber(value: unknown): void {
  if (typeof value !== "number") throw new TypeError(`got ${String(value)}, accepts a number`);
}
