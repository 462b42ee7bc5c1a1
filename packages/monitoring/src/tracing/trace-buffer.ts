// The spans of one trace in this process. They wait here until its root ends; then they are exported or dropped.
import type { KeepReason } from "./keep-reason.ts";
import type { Span } from "./span.ts";

/** Why spans were lost that should have been kept; see the metric `trace_spans_dropped_total`. */
export type SpanLossReason =
  | "trace_full"
  | "buffer_full"
  | "queue_full"
  | "rejected"
  | "undelivered"
  | "stopped";

/** What the traces of a process share. */
export interface SpanSink {
  /** Whether one more span may wait; counts it. */
  admit(): boolean;
  /** That many spans wait no longer. */
  release(count: number): void;
  /** Exports spans, soon. They are over. */
  export(spans: readonly Span[]): void;
  /** Spans were lost. */
  lost(reason: SpanLossReason, count: number): void;
}

export interface TraceStart {
  readonly traceId: string;
  /** The span that the root is a child of, in another process. */
  readonly remoteParentId: string | undefined;
  readonly tracestate: string | undefined;
  readonly isSampled: boolean;
}

/** Spans of one trace beyond this are not recorded. */
const mostSpans = 1_000;

export class TraceBuffer {
  readonly traceId: string;
  readonly remoteParentId: string | undefined;
  readonly tracestate: string | undefined;
  readonly isSampled: boolean;
  /** Milliseconds since 1970 at which `performance.now()` was 0, for this trace: a clock that is set does not tear it. */
  readonly originMs: number = Date.now() - performance.now();
  readonly #sink: SpanSink;
  #spans: Span[] = [];
  #keepReason: KeepReason | undefined;
  #isOver = false;

  constructor(sink: SpanSink, { traceId, remoteParentId, tracestate, isSampled }: TraceStart) {
    this.#sink = sink;
    this.traceId = traceId;
    this.remoteParentId = remoteParentId;
    this.tracestate = tracestate;
    this.isSampled = isSampled;
    this.#keepReason = isSampled ? "sampled" : undefined;
  }

  get keepReason(): KeepReason | undefined {
    return this.#keepReason;
  }

  /** The trace is to be kept. The first reason counts. */
  keep(reason: KeepReason): void {
    this.#keepReason ??= reason;
  }

  /** Takes a span that begins; false if there is no room for it. */
  add(span: Span): boolean {
    // After its end a trace that was dropped takes nothing more.
    if (this.#isOver && this.#keepReason === undefined) return false;
    if (this.#spans.length >= mostSpans) {
      this.#sink.lost("trace_full", 1);
      return false;
    }
    if (!this.#sink.admit()) {
      this.#sink.lost("buffer_full", 1);
      return false;
    }
    this.#spans.push(span);
    return true;
  }

  /** A span of it is over. The end of the root decides about all; those that end later follow. */
  ended(span: Span): void {
    if (span.parent === undefined) this.#isOver = true;
    if (!this.#isOver) return;
    const all = this.#spans;
    if (this.#keepReason === undefined) {
      this.#spans = [];
      this.#sink.release(all.length);
      return;
    }
    const over = all.filter(({ isOver }) => isOver);
    this.#spans = all.filter(({ isOver }) => !isOver);
    this.#sink.release(over.length);
    this.#sink.export(over);
  }
}
