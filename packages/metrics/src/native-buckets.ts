// The buckets of one native histogram: their bounds are powers of a growth factor, and only those that hold values
// are kept. https://prometheus.io/docs/specs/native_histograms/
import { indexOf } from "./native-index.ts";
import { SparseCounter, type SparseCounts } from "./sparse-counter.ts";

export interface NativeOptions {
  /**
   * How much wider each bucket is than the one before, at most: 1.1 gives a relative error of at most 5 %. The bounds
   * of each schema are fixed, so the factor in use is the next smaller one of 2^(2^-8) = 1.0027, 2^(2^-7), … 2, 4, 16,
   * 256, 65536.
   */
  readonly factor: number;
  /** Values up to this, in either direction, are in the zero bucket; 2^-128 by default. */
  readonly zeroThreshold?: number | undefined;
  /**
   * Buckets that may hold values; 160 by default. When one more is needed, neighbors are merged to half the
   * resolution. At the lowest resolution there are at most 264, and they are all kept.
   */
  readonly maxBuckets?: number | undefined;
}

/** What all series of a histogram have in common. */
export interface NativeShape {
  /** From -4 to 8: bounds are powers of 2^(2^-schema). */
  readonly schema: number;
  readonly zeroThreshold: number;
  readonly maxBuckets: number;
  create(): NativeBuckets;
}

const lowestSchema = -4;
const highestSchema = 8;
/** The default of client_golang, and large enough for latencies from 1 ms to 1,000 s at a factor of 1.1. */
const defaultMaxBuckets = 160;
const defaultZeroThreshold = 2 ** -128;

/** @throws TypeError when an option is not what it may be */
export function nativeShape(options: NativeOptions): NativeShape {
  const { factor, zeroThreshold = defaultZeroThreshold, maxBuckets = defaultMaxBuckets } = options;
  if (!(factor > 1 && factor < Number.POSITIVE_INFINITY))
    throw new TypeError(`got the factor ${String(factor)} for native buckets, accepts a number over 1`);
  if (!(zeroThreshold >= 0 && zeroThreshold < Number.POSITIVE_INFINITY))
    throw new TypeError(
      `got the zero threshold ${String(zeroThreshold)} for native buckets, accepts a number from 0 on`,
    );
  if (!Number.isSafeInteger(maxBuckets) || maxBuckets < 1)
    throw new TypeError(
      `got ${String(maxBuckets)} for the most native buckets, accepts a whole number from 1 on`,
    );
  const shape: NativeShape = {
    schema: pickSchema(factor),
    zeroThreshold,
    maxBuckets,
    create: () => new NativeBuckets(shape),
  };
  return shape;
}

/** The highest schema whose growth factor is not larger, by the formula of client_golang's `pickSchema`. */
function pickSchema(factor: number): number {
  const floor = Math.floor(Math.log2(Math.log2(factor)));
  return Math.max(lowestSchema, Math.min(highestSchema, 0 - floor));
}

/** What native buckets hold, to be read. */
export type NativeCounts = Readonly<Omit<NativeBuckets, "add">>;

const none: SparseCounts = { indexes: [], counts: [] };

export class NativeBuckets {
  /** That of the shape, or less after buckets were merged. */
  schema: number;
  zeroCount = 0;
  readonly #shape: NativeShape;
  // Most histograms have values of one sign only.
  #positive: SparseCounter | undefined;
  #negative: SparseCounter | undefined;

  constructor(shape: NativeShape) {
    this.schema = shape.schema;
    this.#shape = shape;
  }

  get zeroThreshold(): number {
    return this.#shape.zeroThreshold;
  }

  /** Bucket `i` of positive values holds those over 2^((i-1)·2^-schema) and up to 2^(i·2^-schema). */
  get positive(): SparseCounts {
    return this.#positive ?? none;
  }

  /** The same of negative values by their absolute. */
  get negative(): SparseCounts {
    return this.#negative ?? none;
  }

  /** Counts a finite value. */
  add(value: number): void {
    const absolute = value < 0 ? -value : value;
    if (absolute <= this.#shape.zeroThreshold) {
      this.zeroCount += 1;
      return;
    }
    const index = indexOf(absolute, this.schema);
    const counter = value < 0 ? this.#negative : this.#positive;
    if (counter === undefined) {
      if (value < 0) this.#negative = new SparseCounter(index);
      else this.#positive = new SparseCounter(index);
      this.#limit();
    } else if (counter.add(index)) {
      this.#limit();
    }
  }

  #limit(): void {
    while (
      this.positive.indexes.length + this.negative.indexes.length > this.#shape.maxBuckets &&
      this.schema > lowestSchema
    ) {
      this.schema -= 1;
      this.#positive?.halve();
      this.#negative?.halve();
    }
  }
}
