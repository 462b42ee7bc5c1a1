// The label sets of one metric: each has a slot, under which its numbers are in typed arrays, and there are no more of
// them than the metric may have. A series is a handle on a slot, made when somebody asks for it.
import { LabelSetIndex, type Labels, type LabelValue, textOfValue } from "./label-set-index.ts";

export type { LabelValue } from "./label-set-index.ts";

/** Values by label name. A label that is left out, undefined or empty is one that the series does not have. */
export type LabelValues<Names extends string> = [Names] extends [never]
  ? Readonly<Partial<Record<string, never>>>
  : Readonly<Partial<Record<Names, LabelValue | undefined>>>;

/** Label sets that a metric may have when it says nothing else. */
export const defaultMaxSeries = 2000;

/** The value of every label of the series that takes what goes past the cap. */
const overflowValue = "overflow";

/**
 * One label set. It is also what `labels()` gives, to be kept: when it was removed, using it makes it anew, or joins
 * the one that somebody else made in the meantime.
 */
export abstract class Series {
  /** Which place in the table's columns is its own; -1 when it was removed. */
  slot: number;
  protected readonly table: SeriesTable<Series>;
  /** Of a removed one, what it takes to make it anew. */
  #removedTexts: readonly string[] | undefined = undefined;
  /** Another handle on the same slot, that of a label set which was removed and made again. */
  #next: Series | undefined = undefined;

  constructor(slot: number, table: SeriesTable<Series>) {
    this.slot = slot;
    this.table = table;
  }

  /** In the order of the label names; undefined where a label was left out. */
  get labelValues(): readonly (string | undefined)[] {
    const texts = this.#removedTexts ?? this.table.textsAt(this.slot);
    return texts.map((text) => (text === "" ? undefined : text));
  }

  /** Values by label name, without those that were left out. */
  get labels(): Record<string, string> {
    return labelsOf(this.table.labelNames, this.#removedTexts ?? this.table.textsAt(this.slot));
  }

  /** Series of a table are numbered in the order in which they were made; -1 when it was removed. */
  get number(): number {
    return this.table.numbers[this.slot] ?? -1;
  }

  /** When its counting began: milliseconds since 1970, 0 when it was removed. */
  get createdMs(): number {
    return this.table.createdMs[this.slot] ?? 0;
  }

  /** The slot of a removed one, made anew if need be. */
  protected again(): number {
    const slot = this.table.slotOfTexts(this.#removedTexts as readonly string[]);
    this.#next = this.table.shareHandle(slot, this);
    this.slot = slot;
    this.#removedTexts = undefined;
    return slot;
  }

  /** For the table: its slot is another's from now on, and that of all handles on it. */
  static detach(first: Series, texts: readonly string[]): void {
    for (let series: Series | undefined = first; series !== undefined; ) {
      const next: Series | undefined = series.#next;
      series.slot = -1;
      series.#removedTexts = texts;
      series.#next = undefined;
      series = next;
    }
  }
}

export interface SeriesTableOptions<S extends Series> {
  readonly labelNames: readonly string[];
  readonly maxSeries: number;
  /** Numbers that one series has in `values`. */
  readonly stride: number;
  readonly create: (slot: number) => S;
  /** Told of a slot that is another's from now on. */
  readonly onFree?: (slot: number) => void;
}

export class SeriesTable<S extends Series> {
  readonly labelNames: readonly string[];
  readonly maxSeries: number;
  readonly stride: number;
  /** `stride` numbers a series, from `slot * stride` on. Another array after it grew: do not keep it. */
  values: Float64Array;
  /** By slot: see `Series`. A free slot has the number -1. */
  numbers: Float64Array;
  createdMs: Float64Array;
  /** Times that a label set beyond the cap was asked for. */
  dropped = 0;

  readonly #create: (slot: number) => S;
  readonly #onFree: (slot: number) => void;
  readonly #index: LabelSetIndex;
  /** By slot; none where nobody asked for one, which saves half of the memory. */
  readonly #handles: (S | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #overflowTexts: readonly string[];
  #overflowSlot = -1;
  #end = 0;
  #nextNumber = 0;

  constructor({ labelNames, maxSeries, stride, create, onFree = () => {} }: SeriesTableOptions<S>) {
    const capacity = labelNames.length === 0 ? 1 : Math.min(4, maxSeries + 1);
    this.labelNames = labelNames;
    this.maxSeries = maxSeries;
    this.stride = stride;
    this.values = new Float64Array(capacity * stride);
    this.numbers = new Float64Array(capacity).fill(-1);
    this.createdMs = new Float64Array(capacity);
    this.#create = create;
    this.#onFree = onFree;
    this.#index = new LabelSetIndex(labelNames, capacity);
    this.#overflowTexts = labelNames.map(() => overflowValue);
  }

  /** Series that it has, without that of the overflow. */
  get size(): number {
    return this.#end - this.#freeSlots.length - (this.#overflowSlot < 0 ? 0 : 1);
  }

  /** All slots in use are below. */
  get end(): number {
    return this.#end;
  }

  /** The number that the next series will have: a scrape leaves out what was made after it began. */
  get nextNumber(): number {
    return this.#nextNumber;
  }

  /** The slot of a label set, made if need be. @throws TypeError for a label that the metric does not have */
  slotOf(labels: Labels): number {
    const slot = this.#index.find(labels);
    return slot < 0 ? this.#add(this.#index.textsOf(labels)) : slot;
  }

  /** The same by the texts of the values, in the order of the label names; empty where one is left out. */
  slotOfTexts(texts: readonly string[]): number {
    const slot = this.#index.findTexts(texts);
    return slot < 0 ? this.#add(texts) : slot;
  }

  /** The series of a label set, made if need be. @throws TypeError for a label that the metric does not have */
  find(labels: Labels): S {
    return this.#handleOf(this.slotOf(labels));
  }

  /** The same by values in the order of the label names. @throws TypeError when there are more or fewer of them */
  findByValues(values: readonly (LabelValue | undefined)[]): S {
    return this.#handleOf(this.slotOfTexts(this.#textsOfValues(values)));
  }

  /**
   * The series in a slot, undefined in a free one, for the moment: a handle that is not kept, so that a scrape does not
   * leave one of each series behind.
   */
  glance(slot: number): S | undefined {
    return (this.numbers[slot] ?? -1) < 0 ? undefined : (this.#handles[slot] ?? this.#create(slot));
  }

  /** Values of the labels in the order of their names; empty where one was left out. */
  textsAt(slot: number): readonly string[] {
    return this.#index.textsAt(slot);
  }

  /** Values by label name, without those that were left out. */
  labelsAt(slot: number): Record<string, string> {
    return labelsOf(this.labelNames, this.textsAt(slot));
  }

  /** Removes a label set. Who keeps its series may go on using it, which makes it anew. */
  remove(labels: Labels): void {
    this.#removeTexts(this.#index.textsOf(labels));
  }

  removeByValues(values: readonly (LabelValue | undefined)[]): void {
    this.#removeTexts(this.#textsOfValues(values));
  }

  /** Sets a series to zero, as if it were made now. */
  restart(slot: number): void {
    this.#onFree(slot);
    this.values.fill(0, slot * this.stride, (slot + 1) * this.stride);
    this.createdMs[slot] = Date.now();
  }

  /** Removes all label sets. */
  clear(): void {
    for (let slot = 0; slot < this.#end; slot += 1)
      if ((this.numbers[slot] as number) >= 0) this.#forget(slot);
    this.#index.clear();
    this.#freeSlots.length = 0;
    this.#end = 0;
  }

  /** For a series that was removed and is used again. Gives the handle that the slot had. */
  shareHandle(slot: number, series: S): S | undefined {
    const existing = this.#handles[slot];
    setAt(this.#handles, slot, series);
    return existing;
  }

  #handleOf(slot: number): S {
    const existing = this.#handles[slot];
    if (existing !== undefined) return existing;
    const series = this.#create(slot);
    setAt(this.#handles, slot, series);
    return series;
  }

  #add(texts: readonly string[]): number {
    const isOverflow = texts.length > 0 && texts.every((text) => text === overflowValue);
    if (!isOverflow && this.size >= this.maxSeries) {
      this.dropped += 1;
      return this.#overflowSlot < 0 ? this.slotOfTexts(this.#overflowTexts) : this.#overflowSlot;
    }
    const slot = this.#freeSlots.pop() ?? this.#end;
    if (slot === this.#end) {
      if (slot === this.numbers.length) this.#grow();
      this.#end += 1;
    }
    this.#index.add(texts, slot);
    this.values.fill(0, slot * this.stride, (slot + 1) * this.stride);
    this.numbers[slot] = this.#nextNumber;
    this.createdMs[slot] = Date.now();
    this.#nextNumber += 1;
    if (isOverflow) this.#overflowSlot = slot;
    return slot;
  }

  /** Twice the room, or as much as the cap allows. */
  #grow(): void {
    const capacity = Math.min(this.numbers.length * 2, this.maxSeries + 1);
    this.values = grown(this.values, capacity * this.stride);
    this.numbers = grown(this.numbers, capacity, -1);
    this.createdMs = grown(this.createdMs, capacity);
    this.#index.grow(capacity);
  }

  #removeTexts(texts: readonly string[]): void {
    const slot = this.#index.findTexts(texts);
    if (slot < 0) return;
    this.#forget(slot);
    this.#index.remove(slot);
    this.#freeSlots.push(slot);
  }

  /** Takes a slot from its series. */
  #forget(slot: number): void {
    const handle = this.#handles[slot];
    if (handle !== undefined) {
      Series.detach(handle, this.#index.textsAt(slot));
      this.#handles[slot] = undefined;
    }
    this.#onFree(slot);
    this.numbers[slot] = -1;
    if (slot === this.#overflowSlot) this.#overflowSlot = -1;
  }

  #textsOfValues(values: readonly (LabelValue | undefined)[]): string[] {
    const { labelNames } = this;
    if (values.length !== labelNames.length)
      throw new TypeError(
        `got ${values.length} label values (${values.join(", ")}), accepts ${labelNames.length} (${labelNames.join(", ")})`,
      );
    return values.map(textOfValue);
  }
}

function labelsOf(names: readonly string[], texts: readonly string[]): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [index, name] of names.entries()) {
    const text = texts[index];
    if (text !== undefined && text !== "") labels[name] = text;
  }
  return labels;
}

/** Sets an element of an array that is only as long as it has to be, without leaving holes. */
export function setAt<T>(column: (T | undefined)[], slot: number, value: T | undefined): void {
  while (column.length < slot) column.push(undefined);
  column[slot] = value;
}

function grown(column: Float64Array, length: number, rest = 0): Float64Array {
  const longer = new Float64Array(length);
  longer.set(column);
  if (rest !== 0) longer.fill(rest, column.length);
  return longer;
}
