// A span by OpenTelemetry's API: https://opentelemetry.io/docs/specs/otel/trace/api/#span-operations
import { type AttributeValue, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import fc from "fast-check";
import { expect, test } from "vitest";
import { toReadableSpan } from "./readable-span.ts";
import { Span } from "./span.ts";
import { sizeOf } from "./span-size.ts";
import { TraceBuffer } from "./trace-buffer.ts";
import { WaitingSpans } from "./waiting-spans.ts";

const template = { name: "work", kind: SpanKind.INTERNAL, attributes: { from: "the template" } };
const start = { traceId: "a".repeat(32), remoteParentId: undefined, tracestate: undefined, isSampled: true };

function begin(startMs = performance.now()): Span {
  const sink = { waiting: new WaitingSpans(), export() {}, lost() {}, decided() {} };
  return new Span(new TraceBuffer(sink, start, startMs), undefined, template, startMs, undefined);
}

const read = (span: Span) => toReadableSpan(span, resourceFromAttributes({}), { name: "test" });
const msOf = ([seconds, nanoseconds]: readonly [number, number]): number =>
  seconds * 1_000 + nanoseconds / 1e6;

test("after its end nothing about it changes", () => {
  const span = begin().setAttribute("a", 1);
  span.end();
  const before = JSON.stringify(read(span));
  span
    .setAttribute("a", 2)
    .setAttributes({ b: 1 })
    .addEvent("late")
    .addLink({ context: begin().spanContext() })
    .setStatus({ code: SpanStatusCode.ERROR })
    .updateName("other")
    .fail("late");
  span.recordException(new Error("late"));
  span.end(span.startMs + 10_000);
  expect(span.isRecording()).toBe(false);
  expect(JSON.stringify(read(span))).toBe(before);
});

test("one that was recorded as over takes what its caller knows of it", () => {
  const root = begin();
  const span = root.record(template, 1, 2)?.fail("timeout").setAttribute("tries", 2) as Span;
  expect(read(span)).toMatchObject({
    attributes: { "error.type": "timeout", tries: 2 },
    status: { code: SpanStatusCode.ERROR },
  });
});

test("its own attributes go before its template's", () => {
  expect(read(begin()).attributes).toEqual({ from: "the template" });
  expect(read(begin().setAttribute("from", "itself")).attributes).toEqual({ from: "itself" });
  expect(template.attributes).toEqual({ from: "the template" });
});

test.each([
  ["a date", (ms: number) => new Date(ms)],
  ["milliseconds since 1970", (ms: number) => ms],
  ["seconds and nanoseconds", (ms: number): [number, number] => [Math.floor(ms / 1_000), (ms % 1_000) * 1e6]],
])("times are taken as %s", (_, make) => {
  const now = Math.floor(performance.timeOrigin + performance.now());
  const span = begin()
    .addEvent("at", make(now + 1_000))
    .addEvent("with", { a: 1 }, make(now + 2_000));
  span.end(make(now + 3_000));
  const { endTime, events } = read(span);
  expect(msOf(endTime)).toBeCloseTo(now + 3_000, 2);
  expect(events.map(({ time }) => msOf(time) - now)).toEqual([
    expect.closeTo(1_000, 2),
    expect.closeTo(2_000, 2),
  ]);
  expect(events.map(({ attributes }) => attributes)).toEqual([{}, { a: 1 }]);
});

test("times are taken by performance.now(), and nothing ends before it began", () => {
  const span = begin(1_000);
  span.end(1_250);
  expect(read(span).duration).toEqual([0, expect.closeTo(250e6, -4)]);
  const backwards = begin(1_000);
  backwards.end(500);
  expect(read(backwards).duration).toEqual([0, 0]);
  const broken = begin();
  broken.end(new Date(Number.NaN));
  expect(broken.endMs).toBeGreaterThan(0);
});

test("attributes, events and links past their number are counted", () => {
  const span = begin();
  for (let count = 0; count < 200; count += 1)
    span.setAttribute(`a${count}`, count).addEvent(`e${count}`).addLink({ context: span.spanContext() });
  span.setAttribute("a0", "again");
  const many = Object.fromEntries(Array.from({ length: 130 }, (_, index) => [`k${index}`, index]));
  const { attributes, events, links, ...counts } = read(span);
  expect(Object.keys(attributes)).toHaveLength(128);
  expect(attributes).toMatchObject({ a0: "again", from: "the template" });
  expect([events.length, links.length]).toEqual([128, 128]);
  expect(counts).toMatchObject({ droppedAttributesCount: 73, droppedEventsCount: 72, droppedLinksCount: 72 });
  const [event] = read(begin().addEvent("e", many)).events;
  expect(event?.droppedAttributesCount).toBe(2);
});

test("a link is to a sampled span, whatever else is said of that", () => {
  const { traceId, spanId } = begin().spanContext();
  const span = begin();
  for (const traceFlags of [0, 1, 2, 3]) span.addLink({ context: { traceId, spanId, traceFlags } });
  expect(read(span).links.map(({ context }) => context.traceFlags)).toEqual([0, 1, 0, 1]);
});

test("names have a length, and what is none is as if it were empty", () => {
  const span = begin().updateName("n".repeat(5_000)).addEvent("e".repeat(5_000));
  expect(read(span).name).toBe("n".repeat(1_024));
  expect(read(span).events[0]?.name).toBe("e".repeat(1_024));
  for (const name of [undefined, Symbol("s"), Object.create(null)])
    expect(read(begin().updateName(name as string)).name).toBe("");
});

test("what is no set of attributes, link or exception does no harm", () => {
  const span = begin();
  for (const given of [undefined, null, 1, "text"] as never[]) {
    span.setAttributes(given).addEvent("event", given).addLink(given).addLinks([given]);
    span.recordException(given);
    span.setStatus(given);
  }
  span.addLinks(undefined as never);
  const { attributes, links, droppedLinksCount } = read(span);
  expect(attributes).toMatchObject({ from: "the template" });
  expect(links).toEqual([]);
  expect(droppedLinksCount).toBe(8);
});

test("long names of events take of a span's room, and all names of the export's", () => {
  const span = begin();
  const before = sizeOf(span);
  for (let count = 0; count < 100; count += 1) span.addEvent("e".repeat(1_024));
  span.updateName("n".repeat(1_024));
  const { events, name, droppedEventsCount } = read(span);
  expect(events.length + droppedEventsCount).toBe(100);
  expect(events.length).toBeLessThan(65);
  expect(sizeOf(span) - before).toBeGreaterThan(events.length * 1_024 + name.length - template.name.length);
});

test("values have a length, and what is no value is counted", () => {
  const span = begin().setAttributes({
    text: "x".repeat(5_000),
    list: ["y".repeat(5_000), 1, true],
    bytes: new Uint8Array(3),
    map: { a: 1 },
    "": 1,
    nothing: undefined,
  });
  const { attributes, droppedAttributesCount } = read(span);
  expect(attributes).toEqual({
    from: "the template",
    text: "x".repeat(4_096),
    list: ["y".repeat(4_096), 1, true],
  });
  expect(droppedAttributesCount).toBe(4);
});

test("a span has a size: long values, events and links past it are counted", () => {
  const span = begin();
  for (let count = 0; count < 100; count += 1)
    span
      .setAttribute(`long${count}`, "x".repeat(4_000))
      .setAttribute(`short${count}`, "x".repeat(100))
      .addEvent("event", { text: "x".repeat(1_000) })
      .addLink({ context: span.spanContext(), attributes: { list: ["x".repeat(200), "y"] } });
  const readable = read(span);
  expect(JSON.stringify(readable.attributes).length + JSON.stringify(readable.events).length).toBeLessThan(
    90_000,
  );
  expect(Object.keys(readable.attributes).filter((name) => name.startsWith("short"))).toHaveLength(100);
  for (const count of [
    readable.droppedAttributesCount,
    readable.droppedEventsCount,
    readable.droppedLinksCount,
  ])
    expect(count).toBeGreaterThan(50);
});

test("whatever is given as an attribute, a span is exported with at most so much", () => {
  const key = fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "toString", "from", "a"));
  const value = fc.oneof(fc.anything(), fc.string({ maxLength: 6_000 }), fc.array(fc.string()));
  fc.assert(
    fc.property(fc.array(fc.tuple(key, value), { maxLength: 200 }), (pairs) => {
      const span = begin();
      for (const [name, given] of pairs) span.setAttribute(name, given as AttributeValue);
      span.end();
      const { attributes, droppedAttributesCount } = read(span);
      expect(Object.getPrototypeOf(attributes)).toBe(Object.prototype);
      expect(Object.keys(attributes).length).toBeLessThanOrEqual(128);
      for (const found of Object.values(attributes).flat())
        expect(["string", "number", "boolean", "object"]).toContain(typeof found);
      const names = new Set(pairs.map(([name]) => name));
      expect(Object.keys(attributes).length + droppedAttributesCount).toBeGreaterThanOrEqual(names.size);
    }),
  );
});

test("an exception is an event with its type, without its message or stack", () => {
  const span = begin();
  span.recordException(new RangeError("a secret"));
  span.recordException("a secret");
  span.recordException({ code: "ECONNRESET", message: "a secret" });
  span.setStatus({ code: SpanStatusCode.ERROR, message: "a secret" });
  const { events, status } = read(span);
  expect(events.map(({ name, attributes }) => [name, attributes])).toEqual([
    ["exception", { "exception.type": "RangeError" }],
    ["exception", { "exception.type": "Error" }],
    ["exception", { "exception.type": "ECONNRESET" }],
  ]);
  expect(status).toEqual({ code: SpanStatusCode.ERROR });
});

test("a status that is OK is final, and none replaces another", () => {
  const failed = begin().setStatus({ code: SpanStatusCode.ERROR }).setStatus({ code: SpanStatusCode.UNSET });
  expect(read(failed).status.code).toBe(SpanStatusCode.ERROR);
  const fine = failed.setStatus({ code: SpanStatusCode.OK }).setStatus({ code: SpanStatusCode.ERROR });
  expect(read(fine).status.code).toBe(SpanStatusCode.OK);
});

test("ids are hexadecimal, not all zero, and differ", () => {
  const ids = Array.from({ length: 1_000 }, () => begin().spanId);
  for (const id of ids) expect(id).toMatch(/^(?!0{16})[\da-f]{16}$/);
  expect(new Set(ids).size).toBe(1_000);
});
