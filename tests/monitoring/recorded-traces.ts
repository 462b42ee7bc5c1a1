// Traces in memory, for tests of the parts that record spans.

import { noInstruments, type SpanExporter, startTracing, type Tracing } from "@ectus/monitoring";
import { resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";

export interface RecordedTraces {
  readonly tracing: Tracing;
  /** The spans of traces that are over and were kept. */
  spans(): Promise<readonly ReadableSpan[]>;
}

/** @param sampleRatio share of traces that are kept by chance; all by default */
export function recordTraces(sampleRatio = 1): RecordedTraces {
  const spans: ReadableSpan[] = [];
  const exporter: SpanExporter = {
    async send(batch) {
      for (const part of batch) spans.push(...part);
      return { outcome: "taken", rejected: 0 };
    },
    close() {},
  };
  const log = { info() {}, warn() {} } as never;
  const resource = resourceFromAttributes({});
  const tracing = startTracing({ exporter, resource, sampleRatio, instruments: noInstruments, log });
  return {
    tracing,
    async spans() {
      await tracing.flush();
      return [...spans];
    },
  };
}
