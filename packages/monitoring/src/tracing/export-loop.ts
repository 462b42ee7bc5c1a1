// Sends the spans of kept traces, batch by batch, apart from the requests that they are of: a request only puts them
// into the queue. A receiver that is slow or gone costs bounded memory, and spans beyond it.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { createFaultLog } from "../fault-log.ts";
import type { TracingOptions } from "../tracing.ts";
import { type InstrumentationScope, toReadableSpan } from "./readable-span.ts";
import type { Span } from "./span.ts";
import type { Delivery, SpanExporter } from "./span-exporter.ts";
import { type BatchLimits, createSpanQueue, type SpanBatch } from "./span-queue.ts";
import { sizeOf } from "./span-size.ts";
import type { SpanLossReason } from "./trace-buffer.ts";
import type { TraceMetrics } from "./trace-metrics.ts";

export interface ExportLimits extends BatchLimits {
  /** In the queue and the batch on its way. */
  readonly mostSpans: number;
  /** Bytes of those, about. */
  readonly mostBytes: number;
  /** How long a batch waits until a part of it is full. */
  readonly lingerMs: number;
  /** Between tries: doubled from the first to the last. A receiver that asks for more time gets no more than the last. */
  readonly firstWaitMs: number;
  readonly lastWaitMs: number;
  /** How long a batch is tried. */
  readonly giveUpMs: number;
  /** A receiver in no trouble for so long is said to be well: one that comes and goes is not told of each time. */
  readonly calmMs: number;
  /** How long a stop may take. */
  readonly stopMs: number;
}

const defaultLimits: ExportLimits = {
  mostSpans: 8_192,
  mostBytes: 16_000_000,
  // Of 64 to 512, with 128 the event loop turns within 2 ms, and more at once saves no more than a tenth of the CPU.
  partSpans: 128,
  partBytes: 128_000,
  // One batch is on its way at a time: a receiver that answers after 50 ms gets over 10,000 usual spans a second by that.
  // Proxies before a receiver take a megabyte by default.
  batchBytes: 512_000,
  lingerMs: 1_000,
  firstWaitMs: 500,
  lastWaitMs: 10_000,
  giveUpMs: 60_000,
  calmMs: 5_000,
  stopMs: 5_000,
};

export interface ExportLoopOptions extends Pick<TracingOptions, "resource" | "log"> {
  readonly exporter: SpanExporter;
  readonly scope: InstrumentationScope;
  readonly metrics: TraceMetrics;
  readonly limits?: Partial<ExportLimits>;
}

export interface ExportLoop {
  /** Takes spans of one trace: all, or none if there is no room. */
  add(spans: readonly Span[]): void;
  /** Spans that were neither delivered nor lost so far. */
  readonly waiting: number;
  /** Resolves when what was added so far was delivered or lost. */
  flush(): Promise<void>;
  /** Delivers what it can in the time that a stop may take, and ends. */
  close(): Promise<void>;
}

const waitMessage =
  "traces cannot be delivered; they wait, and are lost beyond a number " +
  "(OTEL_EXPORTER_OTLP_ENDPOINT says where a Jaeger or Collector is, OTEL_SDK_DISABLED=true turns traces off)";
const undelivered = "undelivered";
const rejecting = "rejecting";
type Fault = typeof undelivered | typeof rejecting;

export function startExportLoop(options: ExportLoopOptions): ExportLoop {
  const { exporter, resource, scope, metrics, log } = options;
  const limits: ExportLimits = { ...defaultLimits, ...options.limits };
  const faults = createFaultLog(log);
  const queue = createSpanQueue();
  const stopping = new AbortController();
  // How many spans were added since the start, and how many were delivered or lost.
  let added = 0;
  let settled = 0;
  // Of those in the queue and in the batch on its way.
  let heldBytes = 0;
  // Spans lost since a fault began.
  let lost = 0;
  /** When each fault was last seen. */
  const seenAtMs = { [undelivered]: Number.NEGATIVE_INFINITY, [rejecting]: Number.NEGATIVE_INFINITY };
  let failures = 0;
  let isHurried = false;
  let stopBy = Number.POSITIVE_INFINITY;
  let wake = (): void => {};
  const flushes = new Set<{ readonly until: number; resolve(): void }>();

  function settle(count: number): void {
    settled += count;
    for (const flush of flushes)
      if (settled >= flush.until) {
        flushes.delete(flush);
        flush.resolve();
      }
    if (flushes.size === 0) isHurried = false;
  }

  function lose(reason: SpanLossReason, count: number): void {
    if (count === 0) return;
    lost += count;
    metrics.lost(reason, count);
  }

  function fault(name: Fault, fields: object, message: string): void {
    if (faults.open.size === 0) lost = 0;
    seenAtMs[name] = performance.now();
    faults.failed(name, fields, message);
  }

  function mendIfCalm(name: Fault, message: string): void {
    if (performance.now() - seenAtMs[name] >= limits.calmMs)
      faults.mended(name, { lostSpans: lost }, message);
  }

  /** Half of the queue is free, so that a receiver which is too slow does not fail and recover all the time. */
  function mendIfDelivering(): void {
    const isRoom = added - settled <= limits.mostSpans / 2 && heldBytes <= limits.mostBytes / 2;
    if (failures === 0 && isRoom) mendIfCalm(undelivered, "traces are delivered again");
  }

  /** Until `isEnough` or `byMs`; whatever may change what is waited for calls `wake`. */
  async function waitUntil(isEnough: () => boolean, byMs: number): Promise<void> {
    while (!isEnough()) {
      const leftMs = byMs - performance.now();
      if (leftMs <= 0) return;
      await new Promise<void>((resolve) => {
        const timer = Number.isFinite(leftMs) ? setTimeout(resolve, leftMs) : undefined;
        // Spans that wait do not keep a process alive; its stop waits for them.
        if (!isStopping()) timer?.unref();
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  const isStopping = (): boolean => stopBy !== Number.POSITIVE_INFINITY;
  const isFull = (): boolean => queue.length >= limits.partSpans || queue.bytes >= limits.partBytes;

  async function run(): Promise<void> {
    for (;;) {
      await waitUntil(() => queue.length > 0 || isStopping(), Number.POSITIVE_INFINITY);
      await waitUntil(() => isFull() || isHurried || isStopping(), performance.now() + limits.lingerMs);
      if (queue.length === 0) return;
      const batch = queue.take(limits);
      await deliver(batch);
      heldBytes -= batch.bytes;
      settle(batch.spans);
      mendIfDelivering();
      // Others have their turn between two batches.
      await nextTurn();
    }
  }

  function* readable({ parts }: SpanBatch): Generator<readonly ReadableSpan[]> {
    for (const spans of parts) yield spans.map((span) => toReadableSpan(span, resource, scope));
  }

  async function deliver(batch: SpanBatch): Promise<void> {
    const giveUpAt = performance.now() + limits.giveUpMs;
    for (;;) {
      if (performance.now() >= stopBy) return lose("stopped", batch.spans);
      const delivery = await exporter.send(readable(batch), stopping.signal);
      if (delivery.outcome !== "failed") return conclude(delivery, batch.spans);
      failures += 1;
      fault(undelivered, { reason: delivery.reason }, waitMessage);
      // Nobody is there: a stop does not wait for what will not come.
      if (isStopping() && !delivery.isReachable) stopBy = 0;
      const waitMs = Math.min(Math.max(delivery.retryAfterMs ?? 0, backoffMs()), limits.lastWaitMs);
      const nextAt = performance.now() + waitMs;
      if (!isStopping() && nextAt >= giveUpAt) {
        // Its time is over, but the receiver's rest is not.
        lose("undelivered", batch.spans);
        return waitUntil(isStopping, nextAt);
      }
      const wasStopping = isStopping();
      // A stop begins with one more try.
      await waitUntil(() => isStopping() && !wasStopping, Math.min(nextAt, stopBy));
    }
  }

  /** With chance, so that many instances do not come back at once. */
  function backoffMs(): number {
    const fullMs = Math.min(limits.firstWaitMs * 2 ** (failures - 1), limits.lastWaitMs);
    return fullMs * (0.75 + Math.random() / 4);
  }

  function conclude(delivery: Exclude<Delivery, { outcome: "failed" }>, count: number): void {
    failures = 0;
    const rejected = delivery.outcome === "taken" ? Math.min(delivery.rejected, count) : count;
    metrics.exported(count - rejected);
    if (rejected > 0) {
      const reason = delivery.outcome === "taken" ? "it took a part" : delivery.reason;
      fault(rejecting, { reason }, "the receiver of traces rejects spans");
      lose("rejected", rejected);
    } else {
      mendIfCalm(rejecting, "the receiver of traces rejects none any more");
    }
  }

  const running = run();

  return {
    add(spans) {
      if (spans.length === 0) return;
      const sized = spans.map((span) => ({ span, bytes: sizeOf(span) }));
      const bytes = sized.reduce((sum, one) => sum + one.bytes, 0);
      if (isStopping()) return lose("stopped", spans.length);
      const isRoom =
        added - settled + spans.length <= limits.mostSpans && heldBytes + bytes <= limits.mostBytes;
      if (!isRoom) {
        fault(undelivered, { reason: "slow" }, waitMessage);
        return lose("queue_full", spans.length);
      }
      added += spans.length;
      heldBytes += bytes;
      const before = queue.length;
      queue.put(sized);
      if (before === 0 || isFull()) wake();
    },
    get waiting() {
      return added - settled;
    },
    flush() {
      if (settled >= added) return Promise.resolve();
      return new Promise((resolve) => {
        flushes.add({ until: added, resolve });
        isHurried = true;
        wake();
      });
    },
    async close() {
      if (!isStopping()) {
        stopBy = performance.now() + limits.stopMs;
        wake();
      }
      const timer = setTimeout(() => stopping.abort(), limits.stopMs);
      await running;
      clearTimeout(timer);
      exporter.close();
    },
  };
}
