// A series of a histogram as an `io.prometheus.client.Histogram` message: classic buckets, native ones, or both.
import type { Exemplar } from "../exemplar.ts";
import type { Histogram, HistogramSeries } from "../histogram.ts";
import type { NativeCounts } from "../native-buckets.ts";
import type { SparseCounts } from "../sparse-counter.ts";
import { writeExemplar, writeTimestamp } from "./protobuf-exemplar.ts";
import { type ProtobufWriter, sizeOfVarint } from "./protobuf-writer.ts";

const metricHistogram = 0x3a;
const sampleCount = 0x08;
const sampleSum = 0x11;
const classicBucket = 0x1a;
const bucketCount = 0x08;
const bucketBound = 0x11;
const bucketExemplar = 0x1a;
const nativeSchema = 0x28;
const nativeZeroThreshold = 0x31;
const nativeZeroCount = 0x38;
const negativeSpan = 0x4a;
const negativeDelta = 0x50;
const positiveSpan = 0x62;
const positiveDelta = 0x68;
const created = 0x7a;
const spanOffset = 0x08;
const spanLength = 0x10;

/** A gap of so many buckets is written as empty buckets, a longer one begins a new span, as in client_golang. */
const smallGap = 2;
/** Most bytes of a number with its tag, and of a bucket or a span. */
const roomForNumber = 10;
const roomForBucket = 21;

export function writeHistogram(
  writer: ProtobufWriter,
  metric: Histogram<string>,
  series: HistogramSeries,
): void {
  const { values, stride } = metric.table;
  const first = series.slot * stride;
  let count = 0;
  for (let index = first; index < first + stride - 1; index += 1) count += values[index] as number;
  const start = writer.beginMessage(metricHistogram, 2);
  writer.reserve(2 * roomForNumber);
  writer.byte(sampleCount);
  writer.varint(count);
  writer.byte(sampleSum);
  writer.double(values[first + stride - 1] as number);
  if (metric.hasClassicBuckets) writeClassicBuckets(writer, metric, series);
  const { native } = series;
  if (native !== undefined) writeNativeBuckets(writer, native);
  writeTimestamp(writer, created, series.createdMs);
  if (native !== undefined) writeNativeExemplars(writer, series.exemplars);
  writer.endMessage(start, 2);
}

function writeClassicBuckets(
  writer: ProtobufWriter,
  { bounds, table }: Histogram<string>,
  { slot, exemplars }: HistogramSeries,
): void {
  const { values, stride } = table;
  const first = slot * stride;
  let cumulative = 0;
  writer.reserve(bounds.length * roomForBucket);
  for (let index = 0; index < bounds.length; index += 1) {
    cumulative += values[first + index] as number;
    const exemplar = exemplars?.[index];
    if (exemplar !== undefined) {
      writeBucketWithExemplar(writer, cumulative, bounds[index] as number, exemplar);
      writer.reserve((bounds.length - index) * roomForBucket);
      continue;
    }
    writer.byte(classicBucket);
    writer.byte(10 + sizeOfVarint(cumulative));
    writer.byte(bucketCount);
    writer.varint(cumulative);
    writer.byte(bucketBound);
    writer.double(bounds[index] as number);
  }
  // The bucket of +Inf follows from the count, so it is written only for its exemplar.
  const exemplar = exemplars?.[bounds.length];
  if (exemplar === undefined) return;
  cumulative += values[first + bounds.length] as number;
  writeBucketWithExemplar(writer, cumulative, Number.POSITIVE_INFINITY, exemplar);
}

function writeBucketWithExemplar(
  writer: ProtobufWriter,
  cumulative: number,
  bound: number,
  exemplar: Exemplar,
): void {
  const start = writer.beginMessage(classicBucket, 1);
  writer.reserve(2 * roomForNumber);
  writer.byte(bucketCount);
  writer.varint(cumulative);
  writer.byte(bucketBound);
  writer.double(bound);
  writeExemplar(writer, bucketExemplar, exemplar);
  writer.endMessage(start, 1);
}

function writeNativeBuckets(
  writer: ProtobufWriter,
  { schema, zeroThreshold, zeroCount, positive, negative }: NativeCounts,
): void {
  writer.reserve(3 * roomForNumber);
  writer.byte(nativeSchema);
  writer.zigzag(schema);
  writer.byte(nativeZeroThreshold);
  writer.double(zeroThreshold);
  writer.byte(nativeZeroCount);
  writer.varint(zeroCount);
  writeSpans(writer, negativeSpan, negative);
  writeDeltas(writer, negativeDelta, negative);
  writeSpans(writer, positiveSpan, positive);
  // Else nothing would tell it from a classic histogram.
  if (
    zeroThreshold === 0 &&
    zeroCount === 0 &&
    positive.indexes.length === 0 &&
    negative.indexes.length === 0
  )
    writeSpan(writer, positiveSpan, 0, 0);
  writeDeltas(writer, positiveDelta, positive);
}

/** Which buckets follow, as runs of neighbors. */
function writeSpans(writer: ProtobufWriter, tag: number, { indexes }: SparseCounts): void {
  const size = indexes.length;
  let place = 0;
  let end = 0;
  while (place < size) {
    const start = indexes[place] as number;
    let next = start;
    while (place < size && (next === start || (indexes[place] as number) - next <= smallGap)) {
      next = (indexes[place] as number) + 1;
      place += 1;
    }
    writeSpan(writer, tag, start - end, next - start);
    end = next;
  }
}

function writeSpan(writer: ProtobufWriter, tag: number, offset: number, length: number): void {
  writer.reserve(roomForBucket);
  writer.byte(tag);
  const start = writer.position + 1;
  writer.position = start;
  writer.byte(spanOffset);
  writer.zigzag(offset);
  writer.byte(spanLength);
  writer.varint(length);
  const end = writer.position;
  writer.position = start - 1;
  writer.byte(end - start);
  writer.position = end;
}

/** The counts of those buckets, each as the difference from the one before. */
function writeDeltas(writer: ProtobufWriter, tag: number, { indexes, counts }: SparseCounts): void {
  const size = indexes.length;
  writer.reserve(size * (1 + smallGap) * roomForNumber);
  let before = 0;
  for (let place = 0; place < size; place += 1) {
    const index = indexes[place] as number;
    const gap = place === 0 ? 0 : index - (indexes[place - 1] as number) - 1;
    for (let empty = 0; empty < gap && gap <= smallGap; empty += 1) {
      writer.byte(tag);
      writer.zigzag(-before);
      before = 0;
    }
    const count = counts[place] as number;
    writer.byte(tag);
    writer.zigzag(count - before);
    before = count;
  }
}

/** Those that the classic buckets have, which are spread over the range of values; without such, the newest ten. */
function writeNativeExemplars(
  writer: ProtobufWriter,
  exemplars: readonly (Exemplar | undefined)[] | undefined,
): void {
  if (exemplars === undefined) return;
  for (const exemplar of exemplars) {
    if (exemplar === undefined) continue;
    writer.reserve(1);
    // The tag of field 16 has two bytes, of which writeExemplar writes the second.
    writer.byte(0x82);
    writeExemplar(writer, 0x01, exemplar);
  }
}
