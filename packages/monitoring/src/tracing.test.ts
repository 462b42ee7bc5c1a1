// What a process traces from the start of a request to its export. Faults of the receiver: tracing/export-loop.test.ts.
import { newHexUuid } from "@ectus/core";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { recordingLog } from "../../../tests/postgres/recording-log.ts";
import { createShown } from "./testing/shown.ts";
import type { Span } from "./tracing/span.ts";
import { noTracing, startTracing, type Tracing } from "./tracing.ts";

const server = { name: "GET /x", kind: SpanKind.SERVER, attributes: { "http.route": "/x" } };
const work = { name: "work", kind: SpanKind.INTERNAL, attributes: {} };
const caller = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", parentId: "00f067aa0ba902b7" };
const sampled = `00-${caller.traceId}-${caller.parentId}-01`;
const notSampled = `00-${caller.traceId}-${caller.parentId}-00`;

interface Incoming {
  readonly traceparent?: string | string[];
  readonly tracestate?: string | string[];
  readonly isTrusted?: boolean;
}

function startSubject(sampleRatio = 1) {
  const { instruments, value } = createShown();
  const spans: ReadableSpan[] = [];
  const tracing = startTracing({
    exporter: {
      async send(batch) {
        for (const part of batch) spans.push(...part);
        return { outcome: "taken", rejected: 0 };
      },
      close() {},
    },
    resource: resourceFromAttributes({ "service.version": "1.2.3" }),
    sampleRatio,
    instruments,
    log: recordingLog().log,
  });
  onTestFinished(() => tracing.close());
  return {
    tracing,
    begin: (incoming: Incoming = {}) => beginOn(tracing, incoming) as Span,
    async exported() {
      await tracing.flush();
      return spans;
    },
    series: value,
  };
}

function beginOn(tracing: Tracing, { traceparent, tracestate, isTrusted = false }: Incoming) {
  const id = newHexUuid();
  return tracing.beginRequest(server, { id, traceparent, tracestate, isTrusted: () => isTrusted });
}

describe("a trace", () => {
  test("that is chosen is exported whole, with its tree, when its root ends", async () => {
    const { begin, exported, series } = startSubject();
    const root = begin();
    const child = root.startChild(work)?.setAttribute("rows", 3) as Span;
    child.record(work, child.startMs + 1, child.startMs + 3);
    child.end();
    expect(await series('trace_spans_waiting{state="recording"}')).toBe(3);
    expect(await exported()).toEqual([]);
    root.end();
    const [first, second, third] = await exported();
    expect(first).toMatchObject({
      name: "GET /x",
      kind: SpanKind.SERVER,
      attributes: { "http.route": "/x" },
      status: { code: SpanStatusCode.UNSET },
      ended: true,
      instrumentationScope: { name: "ectus", version: "1.2.3" },
    });
    expect(first?.parentSpanContext).toBeUndefined();
    expect(second?.attributes).toEqual({ rows: 3 });
    expect(second?.parentSpanContext?.spanId).toBe(root.spanId);
    expect(third?.parentSpanContext?.spanId).toBe(child.spanId);
    expect(third?.duration).toEqual([0, expect.closeTo(2e6, -4)]);
    expect(new Set([first, second, third].map((span) => span?.spanContext().traceId)).size).toBe(1);
    expect(await series('trace_spans_waiting{state="recording"}')).toBe(0);
    expect(await series('traces_total{kept="sampled"}')).toBe(1);
    expect(await series("trace_spans_exported_total")).toBe(3);
  });

  test("that is not is dropped, and nothing is said of it", async () => {
    const { begin, exported, series } = startSubject(0);
    const root = begin();
    const child = root.startChild(work);
    expect(root.traceparent).toMatch(/-00$/);
    root.end();
    child?.end();
    // It is too late to keep it: no exemplar may lead to it.
    root.keep("error");
    expect(root.isKept).toBe(false);
    expect(root.startChild(work)).toBeUndefined();
    expect(root.record(work, 1, 2)).toBeUndefined();
    expect(await exported()).toEqual([]);
    expect(await series('traces_total{kept="none"}')).toBe(1);
  });

  test.each(["error", "slow"] as const)("of a request that was found %s is kept whole", async (reason) => {
    const { begin, exported, series } = startSubject(0);
    const root = begin();
    root.startChild(work)?.end();
    root.keep(reason);
    root.keep("sampled");
    root.end();
    expect(await exported()).toHaveLength(2);
    expect(await series(`traces_total{kept="${reason}"}`)).toBe(1);
  });

  test("says the strongest reason that it is kept for, and is as sampled for upstreams as it was", async () => {
    const reasons = ["sampled", "slow", "error"] as const;
    for (const first of reasons)
      for (const second of reasons) {
        const { begin, series } = startSubject(first === "sampled" ? 1 : 0);
        const root = begin();
        const { traceparent } = root;
        root.keep(first);
        root.keep(second);
        const strongest = reasons[Math.max(reasons.indexOf(first), reasons.indexOf(second))];
        expect(root.trace.keepReason).toBe(strongest);
        expect(root.traceparent).toBe(traceparent);
        root.end();
        root.keep("error");
        expect(root.trace.keepReason).toBe(strongest);
        expect(await series(`traces_total{kept="${strongest}"}`)).toBe(1);
      }
  });

  test("takes spans that end after its root, and ends once", async () => {
    const { begin, exported, series } = startSubject();
    const root = begin();
    const late = root.startChild(work) as Span;
    root.end();
    root.end();
    late.end();
    late.end();
    root.startChild(work)?.end();
    root.record(work, 1, 2)?.fail("timeout");
    const spans = await exported();
    expect(spans).toHaveLength(4);
    expect(spans.at(-1)?.attributes).toEqual({ "error.type": "timeout" });
    expect(await series('traces_total{kept="sampled"}')).toBe(1);
  });

  test("takes a thousand spans, and counts what goes past", async () => {
    const { begin, exported, series } = startSubject();
    const root = begin();
    for (let count = 0; count < 1_200; count += 1) root.record(work, 1, 2);
    root.end();
    root.startChild(work)?.end();
    expect(await exported()).toHaveLength(1_000);
    expect(await series('trace_spans_dropped_total{reason="trace_full"}')).toBe(202);
  });

  test("whose root never ends takes room for an hour at most", async () => {
    const { begin, series } = startSubject();
    const now = vi.spyOn(performance, "now");
    onTestFinished(() => now.mockRestore());
    for (let trace = 0; trace < 100; trace += 1) {
      const root = begin();
      for (let count = 0; count < 999; count += 1) root.record(work, 1, 2);
    }
    const waiting = () => series('trace_spans_waiting{state="recording"}');
    expect(await waiting()).toBe(100_000);
    const startMs = performance.now();
    expect(begin().startChild(work)).toBeUndefined();
    expect(await series('trace_spans_dropped_total{reason="buffer_full"}')).toBe(2);
    now.mockReturnValue(startMs + 1_900_000);
    begin().end();
    expect(await waiting()).toBe(100_000);
    now.mockReturnValue(startMs + 3_800_000);
    const root = begin();
    expect(root.startChild(work)).toBeDefined();
    root.end();
    expect(await waiting()).toBe(0);
  });

  test("is not torn by a clock that is set", async () => {
    const { begin, exported } = startSubject();
    const root = begin();
    const before = Date.now();
    const clock = vi.spyOn(Date, "now").mockReturnValue(before - 3_600_000);
    onTestFinished(() => clock.mockRestore());
    const child = root.startChild(work);
    child?.addEvent("something");
    clock.mockReturnValue(before - 7_200_000);
    child?.end();
    root.end();
    const spans = await exported();
    const [first, second] = spans;
    for (const span of spans) expect(nanoseconds(span.duration)).toBeGreaterThanOrEqual(0n);
    expect(nanoseconds(second?.startTime)).toBeGreaterThanOrEqual(nanoseconds(first?.startTime));
    expect(nanoseconds(second?.endTime)).toBeLessThanOrEqual(nanoseconds(first?.endTime));
    expect(nanoseconds(second?.events[0]?.time)).toBeGreaterThanOrEqual(nanoseconds(second?.startTime));
  });

  test("has the time of the clock", async () => {
    const { begin, exported } = startSubject();
    const before = BigInt(Date.now() - 3) * 1_000_000n;
    begin().end();
    const [span] = await exported();
    expect(nanoseconds(span?.startTime)).toBeGreaterThanOrEqual(before);
    expect(nanoseconds(span?.endTime)).toBeLessThanOrEqual(BigInt(Date.now() + 3) * 1_000_000n);
  });

  test("of its own is begun with links", async () => {
    const { tracing, begin, exported } = startSubject();
    const request = begin();
    tracing.beginTrace(work, [{ context: request.spanContext() }])?.end();
    const [span] = await exported();
    expect(span?.links).toMatchObject([{ context: { traceId: request.traceId, spanId: request.spanId } }]);
    expect(span?.spanContext().traceId).not.toBe(request.traceId);
  });

  test("whatever happens to it in whatever order, is exported whole or not at all, each span once, and frees its room", async () => {
    const step = fc.record({
      on: fc.nat(30),
      what: fc.constantFrom("child", "end", "record", "keep", "fail", "event"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.boolean(), async (steps, isSampled) => {
        const { tracing, begin, exported, series } = startSubject(isSampled ? 1 : 0);
        const root = begin();
        const spans = [root];
        let isKept = isSampled;
        for (const { on, what } of steps) {
          const span = spans[on % spans.length] as Span;
          const isRootOver = root.isOver;
          if (what === "child") spans.push(...[span.startChild(work) ?? []].flat());
          else if (what === "record") spans.push(...[span.record(work, 2, 1) ?? []].flat());
          else if (what === "end") span.end();
          else if (what === "fail") span.fail("x");
          else if (what === "event") span.addEvent("x");
          else {
            span.keep("slow");
            if (!isRootOver) isKept = true;
          }
        }
        root.end();
        const found = await exported();
        const expected = isKept ? spans.filter(({ isOver }) => isOver) : [];
        expect(found.map((span) => span.spanContext().spanId).toSorted()).toEqual(
          expected.map(({ spanId }) => spanId).toSorted(),
        );
        for (const { duration } of found) expect(nanoseconds(duration)).toBeGreaterThanOrEqual(0n);
        expect(await series('trace_spans_waiting{state="recording"}')).toBe(0);
        expect(await series('trace_spans_waiting{state="export"}')).toBe(0);
        await tracing.close();
      }),
      { numRuns: 60 },
    );
  });
});

test("spans that wait are counted exactly, whatever becomes of their traces: also of those that never end", async () => {
  const step = fc.record({
    trace: fc.nat(4),
    on: fc.nat(30),
    what: fc.constantFrom("begin", "child", "child", "record", "end", "end root", "keep", "close", "hours"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { tracing, begin, series } = startSubject(0.5);
      const startMs = performance.now();
      const now = vi.spyOn(performance, "now");
      // What is counted, by the time at which each trace began.
      const traces: { readonly spans: Span[]; readonly bornHours: number }[] = [];
      let hours = 0;
      let isClosed = false;
      try {
        for (const { trace, on, what } of steps) {
          if (what === "begin") traces.push({ spans: [begin()], bornHours: hours });
          if (what === "close") isClosed = true;
          if (what === "hours") {
            // Old generations are written off when a trace begins.
            for (let count = 0; count < 2; count += 1) {
              hours += 1;
              now.mockReturnValue(startMs + hours * 3_600_000);
              begin().end();
            }
          }
          const { spans = [] } = traces[trace % traces.length] ?? {};
          const span = spans[on % spans.length];
          if (what === "child") spans.push(...[span?.startChild(work) ?? []].flat());
          else if (what === "record") spans.push(...[span?.record(work, 1, 2) ?? []].flat());
          else if (what === "end") span?.end();
          else if (what === "end root") spans[0]?.end();
          else if (what === "keep") span?.keep("error");
        }
        if (isClosed) await tracing.close();
        const waiting = traces.filter(({ spans, bornHours }) => !spans[0]?.isOver && hours === bornHours);
        const expected = waiting.reduce((sum, { spans }) => sum + spans.length, 0);
        expect(await series('trace_spans_waiting{state="recording"}')).toBe(isClosed ? 0 : expected);
        for (const { spans } of traces) spans[0]?.end();
        begin().end();
        expect(await series('trace_spans_waiting{state="recording"}')).toBe(0);
      } finally {
        now.mockRestore();
        await tracing.close();
      }
    }),
    { numRuns: 100 },
  );
});

describe("a caller's trace", () => {
  test("is continued, but what it says of sampling and vendors is believed only from who is trusted", async () => {
    const { begin } = startSubject(0);
    const stranger = begin({ traceparent: sampled, tracestate: "a=1" });
    expect(stranger).toMatchObject({ traceId: caller.traceId, isKept: false, tracestate: undefined });
    expect(stranger.traceparent).toBe(`00-${caller.traceId}-${stranger.spanId}-00`);
    const trusted = begin({ traceparent: sampled, tracestate: "a=1", isTrusted: true });
    expect(trusted).toMatchObject({ traceId: caller.traceId, isKept: true, tracestate: "a=1" });
    expect(trusted.traceparent).toBe(`00-${caller.traceId}-${trusted.spanId}-01`);
  });

  test("that a trusted caller drops is dropped, unless it fails", async () => {
    const { begin, exported } = startSubject(1);
    const dropped = begin({ traceparent: notSampled, isTrusted: true });
    dropped.end();
    expect(await exported()).toEqual([]);
    const failed = begin({ traceparent: notSampled, isTrusted: true });
    failed.keep("error");
    failed.end();
    const [span] = await exported();
    expect(span?.parentSpanContext).toMatchObject({ spanId: caller.parentId, isRemote: true });
    expect(span?.spanContext().spanId).not.toBe(caller.parentId);
  });

  test("chosen by chance is chosen by our id, so that none can be made that always is", () => {
    const { begin } = startSubject(0.5);
    const traceparent = `00-${"f".repeat(32)}-${caller.parentId}-01`;
    let kept = 0;
    for (let count = 0; count < 400; count += 1) if (begin({ traceparent }).isKept) kept += 1;
    expect(kept).toBeGreaterThan(120);
    expect(kept).toBeLessThan(280);
  });

  test.each([
    ["came twice", `${sampled}, ${sampled}`],
    ["is a list", [sampled, sampled]],
    ["has a line feed", `${sampled}\n`],
    ["is in capitals", sampled.toUpperCase()],
    ["is all zero", `00-${"0".repeat(32)}-${"0".repeat(16)}-01`],
    ["is of version ff", `ff${sampled.slice(2)}`],
    ["has more than its version has", `${sampled}-more`],
    ["is 10 kB long", `01${sampled.slice(2)}-${"x".repeat(10_000)}`],
  ])("that %s is none", (_, traceparent) => {
    const { begin } = startSubject(0);
    const root = begin({ traceparent, tracestate: "a=1", isTrusted: true });
    expect(root).toMatchObject({ isKept: false, tracestate: undefined });
    expect(root.traceId).not.toBe(caller.traceId);
    expect(root.trace.remoteParentId).toBeUndefined();
  });

  test("may be anything: what goes on is always well-formed", () => {
    const { begin } = startSubject(0.5);
    const near = fc
      .tuple(fc.string({ maxLength: 3 }), fc.nat(60))
      .map(([text, at]) => sampled.slice(0, at) + text + sampled.slice(at));
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: "binary" }), near, fc.array(near)),
        fc.oneof(fc.string({ unit: "binary" }), fc.array(fc.constantFrom("a=1", "b=2", "\u0000"))),
        fc.boolean(),
        (traceparent, tracestate, isTrusted) => {
          const root = begin({ traceparent, tracestate, isTrusted });
          expect(root.traceparent).toMatch(/^00-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-0[01]$/);
          expect(root.tracestate ?? "a=1").toMatch(/^[\x20-\x7e]{3,512}$/);
          root.end();
        },
      ),
    );
  });
});

describe("without tracing", () => {
  test("a caller's trace is passed on as it came, its tracestate only from who is trusted", () => {
    const stranger = beginOn(noTracing, { traceparent: sampled, tracestate: "a=1" });
    expect(stranger).toEqual({
      traceId: caller.traceId,
      spanId: caller.parentId,
      isKept: false,
      traceparent: sampled,
      tracestate: undefined,
    });
    const trusted = beginOn(noTracing, { traceparent: sampled, tracestate: "a=1,\u0000", isTrusted: true });
    expect(trusted?.tracestate).toBeUndefined();
    expect(beginOn(noTracing, { traceparent: sampled, tracestate: "a=1", isTrusted: true })?.tracestate).toBe(
      "a=1",
    );
  });

  test("nothing is begun", async () => {
    expect(beginOn(noTracing, {})).toBeUndefined();
    expect(noTracing.beginTrace(work)).toBeUndefined();
    await noTracing.flush();
    await noTracing.close();
  });
});

test("two tracings of one process show what waits in both", async () => {
  const { instruments, value } = createShown();
  const start = () =>
    startTracing({
      exporter: { send: async () => ({ outcome: "taken", rejected: 0 }), close() {} },
      resource: resourceFromAttributes({}),
      sampleRatio: 1,
      instruments,
      log: recordingLog().log,
    });
  const [one, other] = [start(), start()];
  one.beginTrace(work);
  other.beginTrace(work);
  expect(await value('trace_spans_waiting{state="recording"}')).toBe(2);
  await one.close();
  expect(await value('trace_spans_waiting{state="recording"}')).toBe(1);
  await other.close();
});

function nanoseconds(time: readonly [number, number] | undefined): bigint {
  if (time === undefined) throw new Error("there is no time");
  return BigInt(time[0]) * 1_000_000_000n + BigInt(time[1]);
}
