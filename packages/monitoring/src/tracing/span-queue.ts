// The spans that wait for their export, first in, first out.
import type { Span } from "./span.ts";

export interface SizedSpan {
  readonly span: Span;
  readonly bytes: number;
}

export interface SpanBatch {
  readonly spans: readonly Span[];
  readonly bytes: number;
}

export interface SpanQueue {
  readonly length: number;
  readonly bytes: number;
  put(spans: readonly SizedSpan[]): void;
  /** Takes the first, up to a number or a size, and one at least. */
  take(mostSpans: number, mostBytes: number): SpanBatch;
}

/** Taken places are given back once there are so many, so that a long queue is not moved for each batch. */
const mostTaken = 1_024;

export function createSpanQueue(): SpanQueue {
  let all: (SizedSpan | undefined)[] = [];
  let first = 0;
  let bytes = 0;
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
    take(mostSpans, mostBytes) {
      const spans: Span[] = [];
      let taken = 0;
      for (let one = all[first]; one !== undefined && spans.length < mostSpans; one = all[first]) {
        if (spans.length > 0 && taken + one.bytes > mostBytes) break;
        spans.push(one.span);
        taken += one.bytes;
        all[first] = undefined;
        first += 1;
      }
      bytes -= taken;
      if (first === all.length || first >= mostTaken) {
        all = all.slice(first);
        first = 0;
      }
      return { spans, bytes: taken };
    },
  };
}
