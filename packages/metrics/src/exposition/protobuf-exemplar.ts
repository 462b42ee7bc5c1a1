// Exemplars and times as messages of io.prometheus.client and google.protobuf.
import type { Exemplar } from "../exemplar.ts";
import type { ProtobufWriter } from "./protobuf-writer.ts";

const exemplarLabel = 0x0a;
const labelName = 0x0a;
const labelValue = 0x12;
const exemplarValue = 0x11;
const exemplarTimestamp = 0x1a;
const timestampSeconds = 0x08;
const timestampNanos = 0x10;

/** Always with its time: without, Prometheus drops exemplars of native histograms. */
export function writeExemplar(writer: ProtobufWriter, tag: number, exemplar: Exemplar): void {
  const start = writer.beginMessage(tag, 1);
  for (const [name, value] of Object.entries(exemplar.labels)) {
    const label = writer.beginMessage(exemplarLabel, 1);
    writer.text(labelName, name);
    writer.text(labelValue, value);
    writer.endMessage(label, 1);
  }
  writer.reserve(9);
  writer.byte(exemplarValue);
  writer.double(exemplar.value);
  writeTimestamp(writer, exemplarTimestamp, exemplar.timestampMs);
  writer.endMessage(start, 1);
}

/** `google.protobuf.Timestamp`, whose fields are left out when they are 0. */
export function writeTimestamp(writer: ProtobufWriter, tag: number, timeMs: number): void {
  const seconds = Math.floor(timeMs / 1000);
  const nanos = Math.round((timeMs - seconds * 1000) * 1e6);
  const start = writer.beginMessage(tag, 1);
  writer.reserve(16);
  if (seconds > 0) {
    writer.byte(timestampSeconds);
    writer.varint(seconds);
  }
  if (nanos > 0) {
    writer.byte(timestampNanos);
    writer.varint(nanos);
  }
  writer.endMessage(start, 1);
}
