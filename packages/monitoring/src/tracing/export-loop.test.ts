// A receiver that is slow, fails, refuses, is gone or comes back, over real HTTP. Whole instances against it:
// tests/monitoring/receiver-faults.test.ts.
import { setImmediate as nextTurn } from "node:timers/promises";
import { SpanKind } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { findFreePort } from "../../../../tests/free-port.ts";
import {
  type OtlpReceiver,
  type Reaction,
  startOtlpReceiver,
} from "../../../../tests/monitoring/otlp-receiver.ts";
import { recordingLog } from "../../../../tests/postgres/recording-log.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { createShown } from "../testing/shown.ts";
import { type ExportLimits, type ExportLoop, startExportLoop } from "./export-loop.ts";
import { createOtlpExporter } from "./otlp-exporter.ts";
import { Span } from "./span.ts";
import type { Delivery } from "./span-exporter.ts";
import { TraceBuffer } from "./trace-buffer.ts";
import { traceMetrics } from "./trace-metrics.ts";
import { WaitingSpans } from "./waiting-spans.ts";

const template = { name: "work", kind: SpanKind.INTERNAL, attributes: { from: "a test" } };
const start = { traceId: "a".repeat(32), remoteParentId: undefined, tracestate: undefined, isSampled: true };

/** Spans that are over, of one trace that is kept. */
function kept(count: number): Span[] {
  const sink = { waiting: new WaitingSpans(), export() {}, lost() {}, decided() {} };
  const trace = new TraceBuffer(sink, start, 0);
  return Array.from({ length: count }, () => new Span(trace, undefined, template, 1, 2));
}

const waitMessage = expect.stringMatching(/^traces cannot be delivered.*OTEL_SDK_DISABLED=true/);
const quick: Partial<ExportLimits> = { lingerMs: 10, firstWaitMs: 5, lastWaitMs: 20, calmMs: 0 };

interface Subject {
  readonly loop: ExportLoop;
  readonly receiver: OtlpReceiver;
  readonly messages: () => readonly unknown[];
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  /** Spans by what became of them. */
  counts(): Promise<Readonly<Record<string, number>>>;
}

interface SubjectOptions {
  readonly limits?: Partial<ExportLimits>;
  readonly reaction?: Reaction;
  readonly endpoint?: string;
  readonly timeoutMs?: number;
}

async function startSubject(options: SubjectOptions = {}): Promise<Subject> {
  const receiver = await startOtlpReceiver();
  onTestFinished(() => receiver.close());
  if (options.reaction !== undefined) receiver.reactWith(options.reaction);
  const { instruments, scrape } = createShown();
  const { log, lines } = recordingLog();
  const loop = startExportLoop({
    exporter: createOtlpExporter({
      endpoint: options.endpoint ?? receiver.endpoint,
      headers: {},
      timeoutMs: options.timeoutMs ?? 10_000,
    }),
    resource: resourceFromAttributes({}),
    scope: { name: "test" },
    metrics: traceMetrics(instruments),
    log,
    limits: { ...quick, ...options.limits },
  });
  onTestFinished(() => loop.close());
  return {
    loop,
    receiver,
    lines,
    messages: () => lines.map(({ msg }) => msg),
    async counts() {
      const counts: Record<string, number> = {};
      for (const [series, value] of await scrape()) {
        const [, name = "exported"] = /^trace_spans_(?:exported_total|dropped_total\{reason="(\w+)"\})$/.exec(
          series,
        ) ?? [series, ""];
        if (name !== "" && value > 0) counts[name] = value;
      }
      return counts;
    },
  };
}

test("spans arrive, each once, in batches", async () => {
  const { loop, receiver, counts, lines } = await startSubject({ limits: { partSpans: 50, batchBytes: 1 } });
  const spans = kept(500);
  loop.add(spans);
  expect(loop.waiting).toBe(500);
  await loop.flush();
  expect(loop.waiting).toBe(0);
  expect(receiver.spanIds).toEqual(spans.map(({ spanId }) => spanId));
  expect(receiver.requestCount).toBe(10);
  expect(await counts()).toEqual({ exported: 500 });
  expect(lines).toEqual([]);
});

test("a batch that is not full leaves after a while, a full one at once", async () => {
  const slow = await startSubject({ limits: { lingerMs: 60_000, partSpans: 10 } });
  slow.loop.add(kept(9));
  slow.loop.add(kept(1));
  await until(() => slow.receiver.spanIds.length === 10);
  const quick = await startSubject({ limits: { lingerMs: 20, partSpans: 10 } });
  quick.loop.add(kept(1));
  await until(() => quick.receiver.spanIds.length === 1);
});

test("a receiver that takes its time gets more at once, in parts that the event loop turns between", async () => {
  const { loop, receiver } = await startSubject();
  const spans = kept(5_000);
  loop.add(spans);
  let turns = 0;
  let isOver = false;
  const turn = (): void => {
    turns += 1;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  await loop.flush();
  isOver = true;
  expect(receiver.spanIds).toEqual(spans.map(({ spanId }) => spanId));
  // At 50 ms each that is more than 10,000 a second.
  expect(receiver.requestCount).toBeLessThanOrEqual(10);
  expect(turns).toBeGreaterThanOrEqual(5_000 / 128);
});

test("no batch is larger than its limit, but for a single span", async () => {
  const { loop, receiver } = await startSubject({ limits: { partBytes: 5_000, batchBytes: 10_000 } });
  const spans = kept(200);
  for (const span of spans) span.setAttribute("text", "x".repeat(1_000));
  loop.add(spans);
  await loop.flush();
  expect(receiver.spanIds).toHaveLength(200);
  expect(receiver.largestBytes).toBeLessThan(12_000);
});

const passing: readonly [string, Reaction, RegExp][] = [
  ["429 and Retry-After", { status: 429, retryAfterSeconds: 3_600 }, /^status 429$/],
  ["503", { status: 503 }, /^status 503$/],
  ["a reset", "resets the connection", /^ECONNRESET$/],
  ["an answer that breaks off", "breaks off its answer", /^(ECONNRESET|ERR_.+)$/],
  ["no answer", "hangs", /^timeout$/],
];

test.each(passing)(
  "after %s a batch is tried again until it is taken, and two lines tell",
  async (_, reaction, reason) => {
    const { loop, receiver, counts, lines, messages } = await startSubject({ reaction, timeoutMs: 100 });
    const spans = kept(20);
    loop.add(spans);
    await until(() => receiver.requestCount >= 4);
    expect(messages()).toEqual([waitMessage]);
    expect(lines[0]).toMatchObject({ level: "warn", reason: expect.stringMatching(reason) });
    receiver.reactWith({ status: 200 });
    await loop.flush();
    expect(receiver.spanIds).toEqual(spans.map(({ spanId }) => spanId));
    expect(await counts()).toEqual({ exported: 20 });
    expect(messages()).toEqual([waitMessage, "traces are delivered again"]);
    expect(lines[1]).toMatchObject({ level: "info", lostSpans: 0 });
  },
);

test("the time that a receiver asks for is waited", async () => {
  const { loop, receiver } = await startSubject({
    reaction: { status: 429, retryAfterSeconds: 1 },
    limits: { lastWaitMs: 10_000 },
  });
  const startMs = performance.now();
  loop.add(kept(1));
  await until(() => receiver.requestCount === 1);
  receiver.reactWith({ status: 200 });
  await loop.flush();
  expect(performance.now() - startMs).toBeGreaterThan(950);
});

test("a receiver that asks for no time is not stormed", async () => {
  const { loop, receiver } = await startSubject({
    reaction: { status: 503, retryAfterSeconds: 0 },
    limits: { firstWaitMs: 100, lastWaitMs: 100, stopMs: 10 },
  });
  const startMs = performance.now();
  loop.add(kept(1));
  await until(() => receiver.requestCount === 4);
  expect(performance.now() - startMs).toBeGreaterThan(220);
});

test("what a receiver will never take is not tried again", async () => {
  const { loop, receiver, counts, messages, lines } = await startSubject({ reaction: { status: 400 } });
  loop.add(kept(20));
  await loop.flush();
  expect(receiver.requestCount).toBe(1);
  expect(await counts()).toEqual({ rejected: 20 });
  receiver.reactWith({ status: 200 });
  loop.add(kept(1));
  await loop.flush();
  expect(await counts()).toEqual({ rejected: 20, exported: 1 });
  expect(messages()).toEqual([
    "the receiver of traces rejects spans",
    "the receiver of traces rejects none any more",
  ]);
  expect(lines).toMatchObject([{ reason: "status 400" }, { lostSpans: 20 }]);
});

test("spans that a receiver rejects of a batch are counted", async () => {
  const { loop, counts, lines } = await startSubject({ reaction: { status: 200, rejectedSpans: 7 } });
  loop.add(kept(20));
  await loop.flush();
  expect(await counts()).toEqual({ exported: 13, rejected: 7 });
  expect(lines).toHaveLength(1);
});

test("an answer that is no protobuf is an answer", async () => {
  const { loop, counts } = await startSubject({ reaction: "answers with what is no protobuf" });
  loop.add(kept(20));
  await loop.flush();
  expect(await counts()).toEqual({ exported: 20 });
});

test("a trace that finds no room in the queue is lost whole and counted; export resumes", async () => {
  const { loop, receiver, counts, messages, lines } = await startSubject({
    reaction: { status: 503 },
    limits: { mostSpans: 100 },
  });
  const first = kept(60);
  loop.add(first);
  loop.add(kept(60));
  const third = kept(40);
  loop.add(third);
  loop.add(kept(1));
  expect(loop.waiting).toBe(100);
  await until(() => receiver.requestCount > 2);
  receiver.reactWith({ status: 200 });
  await loop.flush();
  expect(receiver.spanIds).toEqual([...first, ...third].map(({ spanId }) => spanId));
  expect(await counts()).toEqual({ exported: 100, queue_full: 61 });
  expect(messages()).toEqual([waitMessage, "traces are delivered again"]);
  expect(lines[0]).toMatchObject({ level: "warn", reason: "slow" });
  expect(lines.at(-1)).toMatchObject({ level: "info", lostSpans: 61 });
});

test("a receiver that is too slow for a while is told of once", async () => {
  const { loop, receiver, messages } = await startSubject({
    limits: { mostSpans: 2_000, partSpans: 10, batchBytes: 1 },
  });
  for (let batch = 0; batch < 20; batch += 1) {
    await until(() => receiver.requestCount >= batch);
    loop.add(kept(2_000 - loop.waiting));
    loop.add(kept(10));
  }
  expect(messages()).toEqual([waitMessage]);
  await loop.flush();
  expect(messages()).toEqual([waitMessage, "traces are delivered again"]);
});

test("a receiver that comes and goes is told of once", async () => {
  const { loop, receiver, messages } = await startSubject({ limits: { calmMs: 60_000 } });
  for (let count = 1; count <= 4; count += 1) {
    const triesBefore = receiver.requestCount;
    receiver.reactWith({ status: 503 });
    loop.add(kept(1));
    await until(() => receiver.requestCount > triesBefore);
    receiver.reactWith({ status: 200 });
    await loop.flush();
  }
  expect(receiver.spanIds).toHaveLength(4);
  expect(messages()).toEqual([waitMessage]);
});

test("spans with long attributes take no more memory than others", async () => {
  const { loop, counts } = await startSubject({
    reaction: "hangs",
    limits: { mostBytes: 100_000, stopMs: 10 },
  });
  for (let count = 0; count < 100; count += 1)
    loop.add(kept(1).map((span) => span.setAttribute("text", "x".repeat(4_000))));
  expect(loop.waiting).toBeLessThan(25);
  expect(await counts()).toEqual({ queue_full: 100 - loop.waiting });
});

test("what cannot be delivered for long is given up, and what came after it arrives", async () => {
  const { loop, receiver, counts } = await startSubject({
    reaction: { status: 503 },
    limits: { giveUpMs: 60, partSpans: 10 },
  });
  loop.add(kept(10));
  await until(async () => (await counts()).undelivered === 10);
  receiver.reactWith({ status: 200 });
  const late = kept(5);
  loop.add(late);
  await loop.flush();
  expect(receiver.spanIds).toEqual(late.map(({ spanId }) => spanId));
  expect(await counts()).toEqual({ exported: 5, undelivered: 10 });
});

test("whatever a receiver answers and whenever a stop comes, each span is counted once, and room is given back", async () => {
  const outcome = fc.oneof(
    fc.record({ outcome: fc.constant("taken" as const), rejected: fc.nat(30) }),
    fc.record({ outcome: fc.constant("refused" as const), reason: fc.constant("a reason") }),
    fc.record({
      outcome: fc.constant("failed" as const),
      reason: fc.constant("a reason"),
      retryAfterMs: fc.constantFrom(undefined, 0, 1),
      isReachable: fc.boolean(),
    }),
  );
  const step = fc.oneof(
    fc.record({ add: fc.nat(25), long: fc.boolean() }),
    fc.record({ answer: outcome }),
    fc.constantFrom("turn" as const, "flush" as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), async (steps, isCutShort) => {
      const { instruments, scrape } = createShown();
      const answers: ((answer: Delivery) => void)[] = [];
      // From here on it takes all that comes.
      let isWell = false;
      const sent: Span["spanId"][] = [];
      const loop = startExportLoop({
        exporter: {
          async send(batch) {
            const ids = [...batch].flat().map((span) => span.spanContext().spanId);
            const { promise, resolve } = Promise.withResolvers<Delivery>();
            if (isWell) resolve({ outcome: "taken", rejected: 0 });
            else answers.push(resolve);
            const delivery = await promise;
            if (delivery.outcome === "taken") sent.push(...ids);
            return delivery;
          },
          close() {},
        },
        resource: resourceFromAttributes({}),
        scope: { name: "test" },
        metrics: traceMetrics(instruments),
        log: recordingLog().log,
        limits: {
          mostSpans: 100,
          mostBytes: 60_000,
          partSpans: 7,
          batchBytes: 8_000,
          lingerMs: 0,
          firstWaitMs: 1,
          lastWaitMs: 1,
          giveUpMs: 3,
          stopMs: isCutShort ? 0 : 5_000,
        },
      });
      const settledCount = async (): Promise<number> =>
        [...(await scrape())].reduce(
          (sum, [name, value]) => sum + (/^trace_spans_(exported|dropped)_total/.test(name) ? value : 0),
          0,
        );
      let added = 0;
      for (const one of steps) {
        if (one === "turn") await nextTurn();
        else if (one === "flush") loop.flush();
        else if ("answer" in one) answers.shift()?.(one.answer);
        else {
          const spans = kept(one.add);
          if (one.long) for (const span of spans) span.setAttribute("text", "x".repeat(4_000));
          loop.add(spans);
          added += spans.length;
        }
        // A part of a batch may be counted before it is settled.
        expect(loop.waiting).toBeGreaterThanOrEqual(added - (await settledCount()));
        expect(loop.waiting).toBeLessThanOrEqual(100);
      }
      isWell = true;
      for (const answer of answers) answer({ outcome: "taken", rejected: 0 });
      if (!isCutShort) {
        await loop.flush();
        // As many as there is room for in an empty queue.
        const last = kept(100);
        loop.add(last);
        added += 100;
        await loop.flush();
        expect(sent.slice(-100)).toEqual(last.map(({ spanId }) => spanId));
      }
      await loop.close();
      expect(loop.waiting).toBe(0);
      expect(await settledCount()).toBe(added);
      expect(new Set(sent).size).toBe(sent.length);
    }),
    { numRuns: 60 },
  );
});

test("a stop delivers what waits", async () => {
  const { loop, receiver, counts } = await startSubject({ limits: { lingerMs: 60_000, partSpans: 10 } });
  loop.add(kept(35));
  await loop.close();
  expect(receiver.spanIds).toHaveLength(35);
  loop.add(kept(2));
  expect(await counts()).toEqual({ exported: 35, stopped: 2 });
});

test("a stop begins with one more try, however long the next one was to wait", async () => {
  const { loop, receiver, counts } = await startSubject({
    reaction: { status: 503 },
    limits: { firstWaitMs: 60_000, lastWaitMs: 60_000 },
  });
  loop.add(kept(35));
  await until(() => receiver.requestCount === 1);
  receiver.reactWith({ status: 200 });
  loop.add(kept(5));
  await loop.close();
  expect(receiver.spanIds).toHaveLength(40);
  expect(await counts()).toEqual({ exported: 40 });
});

test("a batch that breaks off while a stop waits for it is tried again", async () => {
  const { loop, receiver, counts } = await startSubject({ reaction: "hangs" });
  loop.add(kept(35));
  await until(() => receiver.requestCount === 1);
  const closed = loop.close();
  receiver.reactWith({ status: 200 });
  await closed;
  expect(receiver.spanIds).toHaveLength(35);
  expect(await counts()).toEqual({ exported: 35 });
});

test("a stop waits for a receiver that is in trouble, for a time", async () => {
  for (const reaction of ["hangs", { status: 503 }] as const) {
    const { loop, counts } = await startSubject({
      reaction,
      limits: { stopMs: 200, partSpans: 10, batchBytes: 1 },
    });
    loop.add(kept(35));
    const startMs = performance.now();
    await loop.close();
    expect(performance.now() - startMs).toBeGreaterThan(190);
    expect(performance.now() - startMs).toBeLessThan(2_000);
    expect(await counts()).toEqual({ stopped: 35 });
  }
});

test("a stop does not wait for a receiver that is not there", async () => {
  const endpoint = `http://user:secret@127.0.0.1:${await findFreePort()}`;
  const { loop, counts, lines } = await startSubject({ endpoint, limits: { lastWaitMs: 60_000 } });
  loop.add(kept(35));
  await until(() => lines.length > 0);
  const startMs = performance.now();
  await loop.close();
  expect(performance.now() - startMs).toBeLessThan(1_000);
  expect(await counts()).toEqual({ stopped: 35 });
  expect(lines).toMatchObject([{ reason: "ECONNREFUSED" }]);
  expect(JSON.stringify(lines)).not.toContain("secret");
});
