// How values are distributed: in classic buckets with fixed bounds, in a native histogram whose buckets are made as
// they are needed, or in both.
import { createExemplar, type Exemplar, type ExemplarLabels } from "./exemplar.ts";
import { isExemplarForm, Metric, type MetricConfiguration, noLabels } from "./metric.ts";
import { exemplarInJson, type MetricValueWithName } from "./metric-values.ts";
import {
  type NativeBuckets,
  type NativeCounts,
  type NativeOptions,
  type NativeShape,
  nativeShape,
} from "./native-buckets.ts";
import { type LabelValues, Series, type SeriesTable, setAt } from "./series-table.ts";

/** In seconds, from 5 ms to 10 s: those of every Prometheus client. */
const defaultBuckets: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface HistogramConfiguration<Names extends string>
  extends MetricConfiguration<Names, Histogram<Names>> {
  /** Upper bounds of the classic buckets, ascending, without +Inf; false for a histogram that is only native. */
  readonly buckets?: readonly number[] | false | undefined;
  /** Makes it a native histogram (too). */
  readonly native?: NativeOptions | undefined;
  /** Lets `observe` take an object with `labels`, `value` and `exemplarLabels`. */
  readonly enableExemplars?: boolean | undefined;
}

export interface ObserveDataWithExemplar<Names extends string> {
  readonly labels?: LabelValues<Names> | undefined;
  readonly value: number;
  readonly exemplarLabels?: ExemplarLabels | undefined;
}

/**
 * What all series of a histogram share. The numbers of one in the table are the counts of the classic buckets (each
 * its own, not cumulative; the last is that of +Inf), then the sum. How many values there were is not kept but added
 * up, so that no reader ever sees a count that differs from the sum of the buckets.
 */
interface HistogramColumns {
  readonly table: SeriesTable<HistogramSeries>;
  /** Without +Inf; empty without classic buckets. */
  readonly bounds: Float64Array;
  readonly nativeShape: NativeShape | undefined;
  /** What series show that have no values. */
  readonly emptyNative: NativeCounts | undefined;
  /** By slot; as long as the last series that has values. */
  readonly natives: (NativeBuckets | undefined)[];
  /** By slot; see HistogramSeries. */
  readonly exemplars: ((Exemplar | undefined)[] | undefined)[];
}

/** One label set of a histogram. */
export class HistogramSeries<Names extends string = string> extends Series {
  readonly #columns: HistogramColumns;

  constructor(slot: number, columns: HistogramColumns) {
    super(slot, columns.table);
    this.#columns = columns;
  }

  /** The native buckets; undefined when the histogram has none. */
  get native(): NativeCounts | undefined {
    return this.slot < 0 ? undefined : (this.#columns.natives[this.slot] ?? this.#columns.emptyNative);
  }

  /**
   * The newest of each classic bucket, +Inf last; without classic buckets, the newest ten, newest first. Undefined as
   * long as there is none.
   */
  get exemplars(): readonly (Exemplar | undefined)[] | undefined {
    return this.#columns.exemplars[this.slot];
  }

  /** @throws TypeError for what is no finite number */
  observe(value: number, exemplarLabels?: ExemplarLabels): void {
    checkObservation(value);
    const slot = this.slot < 0 ? this.again() : this.slot;
    observe(this.#columns, slot, value, exemplarLabels);
  }

  /**
   * Gives a function that observes the seconds since now, and returns them; it may add labels that are known only
   * then.
   */
  startTimer(): (endLabels?: LabelValues<Names>, exemplarLabels?: ExemplarLabels) => number {
    const startedMs = performance.now();
    return (endLabels, exemplarLabels) => {
      const seconds = (performance.now() - startedMs) / 1000;
      if (endLabels === undefined) this.observe(seconds, exemplarLabels);
      else
        observe(this.#columns, this.table.slotOf({ ...this.labels, ...endLabels }), seconds, exemplarLabels);
      return seconds;
    };
  }
}

export class Histogram<Names extends string = never> extends Metric<Names, HistogramSeries<Names>> {
  readonly type = "histogram";
  /** Upper bounds of the classic buckets, without +Inf. */
  readonly bounds: readonly number[];
  readonly hasClassicBuckets: boolean;
  readonly native: NativeShape | undefined;
  readonly #columns: HistogramColumns;
  readonly #withExemplars: boolean;

  constructor(configuration: HistogramConfiguration<Names>) {
    const { name, buckets = defaultBuckets, labelNames = [] } = configuration;
    const native = configuration.native === undefined ? undefined : nativeShape(configuration.native);
    const bounds = buckets === false ? [] : checkBounds(name, buckets);
    if (buckets === false && native === undefined)
      throw new TypeError(`the histogram ${name} has neither classic buckets nor native ones`);
    if ((labelNames as readonly string[]).includes("le"))
      throw new TypeError(`the histogram ${name} has a label le, which is the name of its buckets' bounds`);
    let columns: HistogramColumns | undefined;
    const natives: HistogramColumns["natives"] = [];
    const exemplars: HistogramColumns["exemplars"] = [];
    super(configuration, {
      stride: bounds.length + 2,
      create: (slot) => new HistogramSeries<Names>(slot, columns as HistogramColumns),
      onFree: (slot) => {
        if (slot < natives.length) natives[slot] = undefined;
        if (slot < exemplars.length) exemplars[slot] = undefined;
      },
    });
    this.bounds = bounds;
    this.hasClassicBuckets = buckets !== false;
    this.native = native;
    const table = this.table as SeriesTable<HistogramSeries>;
    columns = {
      table,
      bounds: Float64Array.from(bounds),
      nativeShape: native,
      emptyNative: native?.create(),
      natives,
      exemplars,
    };
    this.#columns = columns;
    this.#withExemplars = configuration.enableExemplars === true;
    this.begin(configuration.registers);
  }

  /** @throws TypeError for what is no finite number and for a label that it does not have */
  observe(value: number): void;
  observe(labels: LabelValues<Names>, value: number): void;
  observe(observation: ObserveDataWithExemplar<Names>): void;
  observe(first: number | LabelValues<Names> | ObserveDataWithExemplar<Names>, value?: number): void {
    if (typeof first !== "object" || first === null) {
      checkObservation(first);
      observe(this.#columns, this.table.slotOf(noLabels), first);
    } else if (this.#withExemplars && value === undefined && isExemplarForm(first)) {
      const { labels = noLabels, value: given, exemplarLabels } = first as ObserveDataWithExemplar<string>;
      checkObservation(given);
      observe(this.#columns, this.table.slotOf(labels), given, exemplarLabels);
    } else {
      checkObservation(value);
      observe(this.#columns, this.table.slotOf(first as LabelValues<string>), value);
    }
  }

  /** Sets the series of a label set to zeros, so that it is there before its first value. */
  zero(labels: LabelValues<Names>): void {
    this.table.restart(this.table.slotOf(labels as LabelValues<string>));
  }

  /**
   * Gives a function that observes the seconds since now, and returns them; it may add labels that are known only
   * then.
   */
  startTimer(
    labels?: LabelValues<Names>,
    exemplarLabels?: ExemplarLabels,
  ): (endLabels?: LabelValues<Names>, endExemplarLabels?: ExemplarLabels) => number {
    const startedMs = performance.now();
    return (endLabels, endExemplarLabels) => {
      const seconds = (performance.now() - startedMs) / 1000;
      const slot = this.table.slotOf({ ...labels, ...endLabels });
      observe(this.#columns, slot, seconds, { ...exemplarLabels, ...endExemplarLabels });
      return seconds;
    };
  }

  protected override valuesAt(slot: number, given: Record<string, string>): MetricValueWithName<Names>[] {
    const { name, bounds, table } = this;
    const labels = given as LabelValues<Names>;
    const start = slot * table.stride;
    const exemplars = this.#columns.exemplars[slot];
    const values: MetricValueWithName<Names>[] = [];
    let count = 0;
    for (let bucket = 0; bucket <= bounds.length; bucket += 1) {
      count += table.values[start + bucket] as number;
      values.push({
        metricName: `${name}_bucket`,
        labels: { ...labels, le: bounds[bucket] ?? "+Inf" },
        value: count,
        ...exemplarInJson(exemplars?.[bucket]),
      });
    }
    const sum = table.values[start + table.stride - 1] as number;
    values.push({ metricName: `${name}_sum`, labels, value: sum });
    values.push({ metricName: `${name}_count`, labels, value: count });
    return values;
  }
}

function observe(
  columns: HistogramColumns,
  slot: number,
  value: number,
  exemplarLabels?: ExemplarLabels,
): void {
  const { bounds } = columns;
  const { values, stride } = columns.table;
  let bucket = 0;
  // One after the other: 11 buckets take 10 ns so, and 20 by halves, which no branch predictor foresees.
  while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket += 1;
  const start = slot * stride;
  (values[start + bucket] as number) += 1;
  (values[start + stride - 1] as number) += value;
  if (columns.nativeShape !== undefined) nativeAt(columns, columns.nativeShape, slot).add(value);
  if (exemplarLabels === undefined) return;
  const exemplar = createExemplar(exemplarLabels, value);
  if (exemplar === undefined) return;
  keepExemplar(columns, slot, bucket, exemplar);
}

function nativeAt({ natives }: HistogramColumns, shape: NativeShape, slot: number): NativeBuckets {
  const existing = natives[slot];
  if (existing !== undefined) return existing;
  const made = shape.create();
  setAt(natives, slot, made);
  return made;
}

/** As many as client_golang keeps of a native histogram. */
const mostNativeExemplars = 10;

function keepExemplar(columns: HistogramColumns, slot: number, bucket: number, exemplar: Exemplar): void {
  const { exemplars, bounds, nativeShape } = columns;
  const isOnlyNative = nativeShape !== undefined && bounds.length === 0;
  const buckets = isOnlyNative ? 0 : bounds.length + 1;
  if (exemplars[slot] === undefined) setAt(exemplars, slot, new Array(buckets).fill(undefined));
  const kept = exemplars[slot] as (Exemplar | undefined)[];
  if (isOnlyNative) {
    kept.unshift(exemplar);
    if (kept.length > mostNativeExemplars) kept.pop();
  } else kept[bucket] = exemplar;
}

function checkObservation(value: unknown): asserts value is number {
  if (!Number.isFinite(value)) throw new TypeError(`got ${String(value)}, accepts a finite number`);
}

function checkBounds(name: string, buckets: readonly number[]): readonly number[] {
  // +Inf is always there.
  const bounds = buckets.at(-1) === Number.POSITIVE_INFINITY ? buckets.slice(0, -1) : [...buckets];
  for (const [index, bound] of bounds.entries()) {
    if (!Number.isFinite(bound) || (index > 0 && bound <= (bounds[index - 1] as number)))
      throw new TypeError(
        `the histogram ${name} got the buckets ${buckets.join(", ")}, accepts ascending numbers`,
      );
  }
  return bounds;
}
