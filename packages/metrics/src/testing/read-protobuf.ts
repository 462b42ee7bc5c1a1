// For tests: reads a protobuf exposition with a parser that is not ours and the schema that client_model publishes.
import protobuf from "protobufjs";

export interface Label {
  readonly name: string;
  readonly value: string;
}

/** Seconds since 1970; absent where the message has none. */
type Time = { readonly seconds?: number; readonly nanos?: number };

export interface ReadExemplar {
  readonly label: readonly Label[];
  readonly value: number;
  readonly timestamp?: Time;
}

export interface Span {
  readonly offset: number;
  readonly length: number;
}

export interface ReadHistogram {
  readonly sampleCount: number;
  readonly sampleSum: number;
  readonly bucket?: readonly {
    readonly cumulativeCount: number;
    readonly upperBound: number;
    readonly exemplar?: ReadExemplar;
  }[];
  readonly createdTimestamp?: Time;
  readonly schema?: number;
  readonly zeroThreshold?: number;
  readonly zeroCount?: number;
  readonly negativeSpan?: readonly Span[];
  readonly negativeDelta?: readonly number[];
  readonly positiveSpan?: readonly Span[];
  readonly positiveDelta?: readonly number[];
  readonly exemplars?: readonly ReadExemplar[];
}

export interface ReadMetric {
  readonly label?: readonly Label[];
  readonly gauge?: { readonly value: number };
  readonly counter?: {
    readonly value: number;
    readonly exemplar?: ReadExemplar;
    readonly createdTimestamp?: Time;
  };
  readonly histogram?: ReadHistogram;
}

export interface ReadFamily {
  readonly name: string;
  readonly help: string;
  readonly type: "COUNTER" | "GAUGE" | "HISTOGRAM";
  readonly metric?: readonly ReadMetric[];
  readonly unit?: string;
}

const schemaPath = new URL("../../../../tests/monitoring/metrics.proto", import.meta.url).pathname;
let familyType: protobuf.Type | undefined;

function family(): protobuf.Type {
  familyType ??= protobuf.loadSync(schemaPath).lookupType("io.prometheus.client.MetricFamily");
  return familyType;
}

/** Fields that are not in the bytes are not in the objects. */
export function readProtobuf(bytes: Uint8Array): readonly ReadFamily[] {
  const reader = protobuf.Reader.create(bytes);
  const families: ReadFamily[] = [];
  while (reader.pos < reader.len) {
    const message = family().decodeDelimited(reader);
    families.push(family().toObject(message, { longs: Number, enums: String }) as ReadFamily);
  }
  return families;
}

/** The same families as that library writes them. */
export function writeWithLibrary(families: readonly ReadFamily[]): Uint8Array {
  return Buffer.concat(families.map((read) => family().encodeDelimited(family().fromObject(read)).finish()));
}

/** Index and count of the buckets that spans and deltas stand for, those that are 0 left out. */
export function expand(
  spans: readonly Span[] = [],
  deltas: readonly number[] = [],
): readonly (readonly [number, number])[] {
  const buckets: [number, number][] = [];
  let index = 0;
  let count = 0;
  let place = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let step = 0; step < length; step += 1) {
      count += deltas[place] as number;
      if (count !== 0) buckets.push([index, count]);
      place += 1;
      index += 1;
    }
  }
  if (place !== deltas.length) throw new Error(`${deltas.length} deltas in spans of ${place} buckets`);
  return buckets;
}
