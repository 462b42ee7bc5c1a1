// Writes metrics as length-delimited `io.prometheus.client.MetricFamily` messages, the only format that has native
// histograms: https://github.com/prometheus/client_model/blob/v0.6.3/io/prometheus/client/metrics.proto
// Fields are in the order of their numbers, as other encoders write them.
import type { CounterSeries } from "../counter.ts";
import type { Histogram, HistogramSeries } from "../histogram.ts";
import type { AnyMetric } from "../registry.ts";
import type { Series } from "../series-table.ts";
import type { Encoder, EncoderOptions } from "./encoder.ts";
import { shownLabels } from "./name-escaping.ts";
import { writeExemplar, writeTimestamp } from "./protobuf-exemplar.ts";
import { writeHistogram } from "./protobuf-histogram.ts";
import { ProtobufWriter, textField } from "./protobuf-writer.ts";

// A tag is the number of the field times 8, plus how the value is written: 0 varint, 1 double, 2 with its length.
const familyName = 0x0a;
const familyHelp = 0x12;
const familyType = 0x18;
const familyMetric = 0x22;
const familyUnit = 0x2a;
const metricLabel = 0x0a;
const metricGauge = 0x12;
const metricCounter = 0x1a;
const labelName = 0x0a;
const labelValue = 0x12;
const counterValue = 0x09;
const counterExemplar = 0x12;
const counterCreated = 0x1a;
const gaugeValue = 0x09;

/** MetricType of metrics.proto. */
const types = { counter: 0, gauge: 1, histogram: 4 } as const;

export function createProtobufEncoder(options: EncoderOptions): Encoder {
  return new ProtobufEncoder(options);
}

interface Label {
  /** The field `name` of a LabelPair, with tag and length. */
  readonly name: Uint8Array;
  /** What a series has that leaves the label out. */
  readonly fallback: string | undefined;
}

/** The family that is being written, and where it began. */
interface Family {
  readonly metric: AnyMetric;
  readonly name: string;
  readonly labels: readonly Label[];
  readonly start: number;
  readonly fullBytes: number;
  /** How many chunks are full before the one in which it begins. */
  fullChunks: number;
  isEmpty: boolean;
}

class ProtobufEncoder implements Encoder {
  readonly #options: EncoderOptions;
  readonly #writer = new ProtobufWriter();
  #family: Family | undefined;
  #isFinished = false;

  constructor(options: EncoderOptions) {
    this.#options = options;
  }

  get written(): number {
    return this.#writer.fullBytes + this.#writer.position;
  }

  beginMetric(metric: AnyMetric, name: string): void {
    const writer = this.#writer;
    writer.beginItem();
    this.#family = {
      metric,
      name,
      labels: shownLabels(metric, this.#options).map((label) => ({
        name: textField(labelName, label.name),
        fallback: label.fallback,
      })),
      start: writer.position,
      fullBytes: writer.fullBytes,
      fullChunks: writer.fullChunks,
      isEmpty: true,
    };
    writer.text(familyName, name);
    writer.text(familyHelp, metric.help);
    writer.reserve(2);
    writer.byte(familyType);
    writer.byte(types[metric.type]);
  }

  writeSeries(series: Series): void {
    const family = this.#family as Family;
    const { metric } = family;
    const writer = this.#writer;
    family.isEmpty = false;
    writer.beginItem();
    const lengthBytes = metric.type === "histogram" ? 2 : 1;
    const start = writer.beginMessage(familyMetric, lengthBytes);
    writeLabels(writer, family.labels, metric.table.textsAt(series.slot));
    switch (metric.type) {
      case "counter":
        writeCounter(writer, metric.table.values[series.slot] as number, series as CounterSeries);
        break;
      case "gauge":
        writeGauge(writer, metric.table.values[series.slot] as number);
        break;
      case "histogram":
        writeHistogram(writer, metric as Histogram<string>, series as HistogramSeries);
        break;
    }
    writer.endMessage(start, lengthBytes);
  }

  endMetric(): void {
    const writer = this.#writer;
    const { metric, name, start, fullBytes, fullChunks, isEmpty } = this.#family as Family;
    this.#family = undefined;
    if (isEmpty) {
      writer.dropItem();
      return;
    }
    if (metric.unit !== undefined && endsWithUnit(name, metric.unit)) writer.text(familyUnit, metric.unit);
    const length = writer.fullBytes - fullBytes + writer.position - start;
    writer.insertLength(fullChunks, start, length);
  }

  finish(): void {
    this.#isFinished = true;
  }

  take(): Uint8Array[] {
    if (this.#isFinished) return this.#writer.takeAll();
    const family = this.#family;
    if (family === undefined) return this.#writer.takeFull(this.#writer.fullChunks);
    const taken = this.#writer.takeFull(family.fullChunks);
    family.fullChunks = 0;
    return taken;
  }
}

function writeLabels(writer: ProtobufWriter, labels: readonly Label[], texts: readonly string[]): void {
  for (let index = 0; index < labels.length; index += 1) {
    const { name, fallback } = labels[index] as Label;
    // An empty text is that of a label which was left out.
    const value = texts[index] || fallback;
    if (value === undefined) continue;
    const start = writer.beginMessage(metricLabel, 1);
    writer.reserve(name.length);
    writer.raw(name);
    writer.text(labelValue, value);
    writer.endMessage(start, 1);
  }
}

function writeCounter(writer: ProtobufWriter, value: number, { exemplar, createdMs }: CounterSeries): void {
  const start = writer.beginMessage(metricCounter, 1);
  writer.reserve(9);
  writer.byte(counterValue);
  writer.double(value);
  if (exemplar !== undefined) writeExemplar(writer, counterExemplar, exemplar);
  writeTimestamp(writer, counterCreated, createdMs);
  writer.endMessage(start, 1);
}

function writeGauge(writer: ProtobufWriter, value: number): void {
  writer.reserve(11);
  writer.byte(metricGauge);
  writer.byte(9);
  writer.byte(gaugeValue);
  writer.double(value);
}

/** Some versions of Prometheus refuse a whole scrape in which a unit is not the end of its metric's name. */
function endsWithUnit(name: string, unit: string): boolean {
  const base = name.endsWith("_total") ? name.slice(0, -"_total".length) : name;
  return unit !== "" && base.endsWith(`_${unit}`);
}
