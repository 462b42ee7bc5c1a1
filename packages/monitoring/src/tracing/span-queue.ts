// The spans that wait for their export, first in, first out.
import type { Span } from "./span.ts";

export interface SizedSpan {
  readonly span: Span;
  readonly bytes: number;
}

/** Spans that are sent together, in parts that are serialized each in a turn of the event loop. */
export interface SpanBatch {
  readonly parts: readonly (readonly Span[])[];
  readonly spans: number;
  readonly bytes: number;
}

export interface BatchLimits {
  readonly partSpans: number;
  readonly partBytes: number;
  readonly batchBytes: number;
}

export interface SpanQueue {
  readonly length: number;
  readonly bytes: number;
  put(spans: readonly SizedSpan[]): void;
  /** Takes the first, one at least. No part is larger than its limits, but for a single span. */
  take(limits: BatchLimits): SpanBatch;
}

/** Taken places are given back once there are so many, so that a long queue is not moved for each batch. */
const mostTaken = 1_024;

export function createSpanQueue(): SpanQueue {
  let all: (SizedSpan | undefined)[] = [];
  let first = 0;
  let bytes = 0;

  function takePart({ partSpans, partBytes }: BatchLimits): { spans: readonly Span[]; bytes: number } {
    const spans: Span[] = [];
    let taken = 0;
    for (let one = all[first]; one !== undefined && spans.length < partSpans; one = all[first]) {
      if (spans.length > 0 && taken + one.bytes > partBytes) break;
      spans.push(one.span);
      taken += one.bytes;
      all[first] = undefined;
      first += 1;
    }
    return { spans, bytes: taken };
  }

  return {
    get length() {
      return all.length - first;
    },
    get bytes() {
      return bytes;
    },
    put(spans) {
      for (const one of spans) {
        all.push(one);
        bytes += one.bytes;
      }
    },
    take(limits) {
      const parts: (readonly Span[])[] = [];
      let count = 0;
      let taken = 0;
      do {
        const part = takePart(limits);
        parts.push(part.spans);
        count += part.spans.length;
        taken += part.bytes;
      } while (first < all.length && taken + limits.partBytes <= limits.batchBytes);
      bytes -= taken;
      if (first === all.length || first >= mostTaken) {
        all = all.slice(first);
        first = 0;
      }
      return { parts, spans: count, bytes: taken };
    },
  };
}
