// A count that only goes up.
import { createExemplar, type Exemplar, type ExemplarLabels } from "./exemplar.ts";
import { isExemplarForm, Metric, type MetricConfiguration, noLabels } from "./metric.ts";
import { exemplarInJson, type MetricValue } from "./metric-values.ts";
import { type LabelValues, Series, type SeriesTable, setAt } from "./series-table.ts";

export interface CounterConfiguration<Names extends string>
  extends MetricConfiguration<Names, Counter<Names>> {
  /** Lets `inc` take an object with `labels`, `value` and `exemplarLabels`. */
  readonly enableExemplars?: boolean | undefined;
}

export interface IncreaseDataWithExemplar<Names extends string> {
  readonly labels?: LabelValues<Names> | undefined;
  readonly value?: number | undefined;
  readonly exemplarLabels?: ExemplarLabels | undefined;
}

/** What all series of a counter share. */
interface CounterColumns {
  readonly table: SeriesTable<CounterSeries>;
  /** By slot; as long as the last series that has one. */
  readonly exemplars: (Exemplar | undefined)[];
}

/** One label set of a counter. */
export class CounterSeries extends Series {
  readonly #columns: CounterColumns;

  constructor(slot: number, columns: CounterColumns) {
    super(slot, columns.table);
    this.#columns = columns;
  }

  /** The newest. */
  get exemplar(): Exemplar | undefined {
    return this.#columns.exemplars[this.slot];
  }

  /** @throws TypeError for what is no finite number, RangeError for one below 0 */
  inc(value?: number, exemplarLabels?: ExemplarLabels): void {
    const by = checkIncrease(value);
    const slot = this.slot < 0 ? this.again() : this.slot;
    increase(this.#columns, slot, by, exemplarLabels);
  }
}

export class Counter<Names extends string = never> extends Metric<Names, CounterSeries> {
  readonly type = "counter";
  readonly #columns: CounterColumns;
  readonly #withExemplars: boolean;

  constructor(configuration: CounterConfiguration<Names>) {
    const exemplars: (Exemplar | undefined)[] = [];
    let columns: CounterColumns | undefined;
    super(configuration, {
      stride: 1,
      create: (slot) => new CounterSeries(slot, columns as CounterColumns),
      onFree: (slot) => {
        if (slot < exemplars.length) exemplars[slot] = undefined;
      },
    });
    columns = { table: this.table, exemplars };
    this.#columns = columns;
    this.#withExemplars = configuration.enableExemplars === true;
    this.begin(configuration.registers);
  }

  /**
   * Adds to a series; 1 when no value is given.
   * @throws TypeError for what is no finite number and for a label that it does not have, RangeError below 0
   */
  inc(value?: number): void;
  inc(labels: LabelValues<Names>, value?: number): void;
  inc(increase: IncreaseDataWithExemplar<Names>): void;
  inc(first?: number | LabelValues<Names> | IncreaseDataWithExemplar<Names>, value?: number): void {
    if (typeof first !== "object" || first === null) {
      const by = checkIncrease(first);
      increase(this.#columns, this.table.slotOf(noLabels), by);
    } else if (this.#withExemplars && value === undefined && isExemplarForm(first)) {
      const { labels = noLabels, value: given, exemplarLabels } = first as IncreaseDataWithExemplar<string>;
      const by = checkIncrease(given);
      increase(this.#columns, this.table.slotOf(labels), by, exemplarLabels);
    } else {
      const by = checkIncrease(value);
      increase(this.#columns, this.table.slotOf(first as LabelValues<string>), by);
    }
  }

  protected override valuesAt(slot: number, labels: Record<string, string>): MetricValue<Names>[] {
    const { table, exemplars } = this.#columns;
    const value = { labels, value: table.values[slot] as number, ...exemplarInJson(exemplars[slot]) };
    return [value as MetricValue<Names>];
  }
}

function increase(columns: CounterColumns, slot: number, by: number, exemplarLabels?: ExemplarLabels): void {
  const { values } = columns.table;
  (values[slot] as number) += by;
  if (exemplarLabels === undefined) return;
  const exemplar = createExemplar(exemplarLabels, by);
  if (exemplar !== undefined) setAt(columns.exemplars, slot, exemplar);
}

function checkIncrease(value: number | null | undefined): number {
  const by = value ?? 1;
  if (typeof by === "number" && by >= 0 && by < Number.POSITIVE_INFINITY) return by;
  throw by < 0 && Number.isFinite(by)
    ? new RangeError(`got ${by}: a counter only goes up`)
    : new TypeError(`got ${String(by)}, accepts a finite number`);
}
