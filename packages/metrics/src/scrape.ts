// One scrape: asks the collect callbacks, then writes all series in slices, between which the event loop turns.
import { collectAll } from "./collect.ts";
import type { Encoder, EncoderOptions } from "./exposition/encoder.ts";
import type { Format } from "./exposition/format.ts";
import { escapeMetricNames } from "./exposition/name-escaping.ts";
import { createOpenMetricsEncoder } from "./exposition/openmetrics.ts";
import { createProtobufEncoder } from "./exposition/protobuf.ts";
import { createTextEncoder } from "./exposition/text.ts";
import type { AnyMetric, Registry } from "./registry.ts";
import type { Series } from "./series-table.ts";

export interface ScrapeOptions {
  readonly format: Format;
  /** How long collect callbacks may take before their metrics are left out of this scrape; 1,000 by default. */
  readonly collectTimeoutMs?: number;
  /** Told of each metric that is left out because its collect callback threw or took too long. */
  readonly onCollectError?: (metric: string, error: unknown) => void;
  /** Ends the scrape: the iteration throws its reason. */
  readonly signal?: AbortSignal;
  /** What `performance.now` is by default. */
  readonly nowMs?: () => number;
}

/** The exposition in chunks. A step of the iteration holds the event loop for about 1 ms. */
export function scrape(
  registry: Registry,
  options: ScrapeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  return scrapeMetrics(registry.getMetricsAsArray(), registry.defaultLabels, options);
}

/** The same of some metrics. */
export async function* scrapeMetrics(
  metrics: readonly AnyMetric[],
  defaultLabels: EncoderOptions["defaultLabels"],
  options: ScrapeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const {
    format,
    collectTimeoutMs = 1000,
    onCollectError,
    signal,
    nowMs = () => performance.now(),
  } = options;
  signal?.throwIfAborted();
  const slice = startSlices(nowMs);
  const failed = await collectAll(metrics, {
    timeoutMs: collectTimeoutMs,
    signal,
    pauseIfDue: () => (slice.isOver() ? slice.pause() : undefined),
  });
  for (const [metric, error] of failed) onCollectError?.(metric.name, error);
  await slice.pause();

  const encoder = createEncoder(format, { escaping: format.escaping, defaultLabels });
  const names = escapeMetricNames(metrics, format.escaping);
  for (const metric of metrics) {
    if (failed.has(metric)) continue;
    encoder.beginMetric(metric, names.get(metric) as string);
    const { table } = metric;
    // What is made from now on is left out, so that a label set which is removed and made again does not occur twice.
    const { nextNumber } = table;
    const order = slotsInOrder(table);
    let checkAt = 0;
    for (let at = 0; at < order.length; at += 1) {
      const slot = order[at] as number;
      const number = table.numbers[slot] as number;
      if (number >= 0 && number < nextNumber) encoder.writeSeries(table.glance(slot) as Series);
      const work = encoder.written + at * bytesPerSlot;
      if (work < checkAt) continue;
      checkAt = work + bytesBetweenChecks;
      if (!slice.isOver()) continue;
      yield* encoder.take();
      await slice.pause();
      signal?.throwIfAborted();
    }
    encoder.endMetric();
    if (!slice.isOver()) continue;
    yield* encoder.take();
    await slice.pause();
    signal?.throwIfAborted();
  }
  encoder.finish();
  yield* encoder.take();
}

/** A slice's aim. Garbage collection and one last series come on top, and all of it has to stay under 5 ms. */
const sliceMs = 1;

/** So many bytes are written in about 10 µs, whatever they are of; to look at the clock takes 40 ns. */
const bytesBetweenChecks = 8192;
/** What a slot adds that has nothing to write. */
const bytesPerSlot = 16;

function startSlices(nowMs: () => number) {
  let endsMs = nowMs() + sliceMs;
  return {
    isOver: () => nowMs() >= endsMs,
    /** Lets the event loop turn once. */
    async pause(): Promise<void> {
      await nextTurn();
      endsMs = nowMs() + sliceMs;
    },
  };
}

// There is one event loop in a process, so that slices of scrapes at the same time have to wait for each other: all that
// was set for a turn of the loop runs in that turn, one after the other.
let lastTurn: Promise<void> = Promise.resolve();

function nextTurn(): Promise<void> {
  lastTurn = lastTurn.then(() => new Promise((resolve) => void setImmediate(resolve)));
  return lastTurn;
}

function createEncoder(format: Format, options: EncoderOptions): Encoder {
  switch (format.kind) {
    case "text":
      return createTextEncoder(options);
    case "openmetrics":
      return createOpenMetricsEncoder(options);
    case "protobuf":
      return createProtobufEncoder(options);
  }
}

/** Beyond this, to sort them could take longer than a slice. Their order means nothing to a scraper. */
const mostSorted = 20_000;
/** More than any slot, and so that a number of 32 bits times this is exact. */
const slots = 2 ** 21;

/** The slots of all series as these were made. Slots have that order, too, until one is used again. */
function slotsInOrder({ numbers, end }: AnyMetric["table"]): Float64Array {
  const order = new Float64Array(end);
  let isOrdered = true;
  let last = -1;
  for (let slot = 0; slot < end; slot += 1) {
    const number = numbers[slot] as number;
    order[slot] = slot;
    if (number < 0) continue;
    isOrdered &&= number > last;
    last = number;
  }
  if (isOrdered || end > mostSorted) return order;
  for (let slot = 0; slot < end; slot += 1) order[slot] = Math.max(numbers[slot] as number, 0) * slots + slot;
  order.sort();
  for (let at = 0; at < end; at += 1) order[at] = (order[at] as number) % slots;
  return order;
}
