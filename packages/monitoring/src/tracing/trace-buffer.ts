// The spans of one trace in this process. They wait here until its root ends; then they are exported or dropped.
import type { TimeInput } from "@opentelemetry/api";
import { type KeepReason, strongerReason } from "./keep-reason.ts";
import type { Span } from "./span.ts";
import type { WaitingSpans } from "./waiting-spans.ts";

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
  /** The spans of traces that are not over. */
  readonly waiting: WaitingSpans;
  /** Exports spans, soon. They are over, and of one trace. */
  export(spans: readonly Span[]): void;
  /** Spans were lost. */
  lost(reason: SpanLossReason, count: number): void;
  /** A trace is over. */
  decided(kept: KeepReason | undefined): void;
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
/** How far the clock may be from where it was when the process began, before a trace takes the clock's word. */
const driftMs = 2;
/** Three years; as milliseconds since 1970 that is in 1973. */
const longestUptimeMs = 1e11;
const nothing: Span[] = [];

export class TraceBuffer {
  readonly traceId: string;
  readonly remoteParentId: string | undefined;
  readonly tracestate: string | undefined;
  readonly isSampled: boolean;
  keepReason: KeepReason | undefined;
  readonly #sink: SpanSink;
  /** Where its spans are counted. */
  readonly #generation: { count: number };
  #spans: Span[] = [];
  #count = 0;
  #isOver = false;
  #origin: number | undefined = undefined;

  /** @param nowMs by `performance.now()` */
  constructor(sink: SpanSink, start: TraceStart, nowMs: number) {
    this.#sink = sink;
    this.traceId = start.traceId;
    this.remoteParentId = start.remoteParentId;
    this.tracestate = start.tracestate;
    this.isSampled = start.isSampled;
    this.keepReason = start.isSampled ? "sampled" : undefined;
    this.#generation = sink.waiting.generationAt(nowMs);
  }

  /**
   * Milliseconds since 1970 at which `performance.now()` was 0. One for all spans of the trace: a clock that is set does
   * not tear it.
   */
  get originMs(): number {
    if (this.#origin === undefined) {
      const { timeOrigin } = performance;
      const now = Date.now() - performance.now();
      this.#origin = Math.abs(now - timeOrigin) <= driftMs ? timeOrigin : now;
    }
    return this.#origin;
  }

  /**
   * A time of OpenTelemetry's API by `performance.now()`; now for one that is none. A number may be of either clock.
   * (OpenTelemetry's SDK takes one of before the process began for a time since then.)
   */
  toPerformanceMs(time: TimeInput | undefined): number {
    if (time === undefined) return performance.now();
    const ms = toMs(time);
    if (!Number.isFinite(ms)) return performance.now();
    return typeof time === "number" && time < longestUptimeMs ? time : ms - this.originMs;
  }

  /** The trace is to be kept. The strongest reason counts; after the end it is too late. */
  keep(reason: KeepReason): void {
    if (!this.#isOver) this.keepReason = strongerReason(this.keepReason, reason);
  }

  /** Takes a span; false if there is no room for it. */
  add(span: Span): boolean {
    // After its end a trace that was dropped takes nothing more.
    if (this.#isOver && this.keepReason === undefined) return false;
    if (this.#count >= mostSpans) {
      this.#sink.lost("trace_full", 1);
      return false;
    }
    if (this.#isOver) {
      this.#count += 1;
      if (span.endMs !== undefined) this.#sink.export([span]);
      return true;
    }
    if (!this.#sink.waiting.hasRoom) {
      this.#sink.lost("buffer_full", 1);
      return false;
    }
    this.#generation.count += 1;
    this.#count += 1;
    this.#spans.push(span);
    return true;
  }

  /**
   * A span of it is over. The end of the root decides about all; a span that ends later is exported by itself, and one
   * that never does waits nowhere.
   */
  ended(span: Span): void {
    if (this.#isOver) {
      if (this.keepReason !== undefined) this.#sink.export([span]);
      return;
    }
    if (span.parent !== undefined) return;
    this.#isOver = true;
    const spans = this.#spans;
    this.#spans = nothing;
    this.#generation.count -= spans.length;
    this.#sink.decided(this.keepReason);
    if (this.keepReason !== undefined) this.#sink.export(spans.filter(({ isOver }) => isOver));
  }
}

/** Whatever others give for a time. */
function toMs(time: TimeInput): number {
  if (typeof time === "number") return time;
  if (time instanceof Date) return time.getTime();
  return Array.isArray(time) ? Number(time[0]) * 1_000 + Number(time[1]) / 1e6 : Number.NaN;
}
