// A span as it is recorded: what OpenTelemetry's API asks for, and as little work as possible for one that is dropped.
import type { ActiveSpan } from "@ectus/core";
import {
  type Attributes,
  type AttributeValue,
  type Exception,
  isSpanContextValid,
  type Link,
  type Span as OpenTelemetrySpan,
  type SpanContext,
  type SpanStatus,
  SpanStatusCode,
  type TimeInput,
  TraceFlags,
} from "@opentelemetry/api";
import { ATTR_ERROR_TYPE, ATTR_EXCEPTION_TYPE } from "@opentelemetry/semantic-conventions";
import type { KeepReason } from "./keep-reason.ts";
import {
  isTime,
  mostAttributes,
  mostEvents,
  mostLinks,
  mostSpanBytes,
  shortCharacters,
  toAttributes,
  toAttributeValue,
  toName,
} from "./span-limits.ts";
import { sizeOfAttributes, sizeOfValue } from "./span-size.ts";
import type { SpanTemplate } from "./span-template.ts";
import type { TraceBuffer } from "./trace-buffer.ts";
import { createTraceState } from "./tracestate.ts";

export interface SpanEvent {
  readonly name: string;
  /** By `performance.now()`. */
  readonly atMs: number;
  readonly attributes: Attributes;
  readonly droppedAttributes: number;
}

export interface SpanLink {
  readonly context: SpanContext;
  readonly attributes: Attributes;
  readonly droppedAttributes: number;
}

/** What few spans have. */
export interface SpanDetails {
  /** Instead of the template's. */
  name?: string;
  readonly events: SpanEvent[];
  readonly links: SpanLink[];
  droppedAttributes: number;
  droppedEvents: number;
  droppedLinks: number;
  /** Bytes that may be added yet. */
  room: number;
}

export class Span implements OpenTelemetrySpan, ActiveSpan {
  readonly trace: TraceBuffer;
  /** Undefined for the root of the trace in this process. */
  readonly parent: Span | undefined;
  /** By `performance.now()`. */
  readonly startMs: number;
  template: SpanTemplate;
  /** By `performance.now()`; undefined until it is over. */
  endMs: number | undefined;
  /** Besides those of the template, and before them. */
  attributes: Attributes | undefined = undefined;
  details: SpanDetails | undefined = undefined;
  status: SpanStatus | undefined = undefined;
  #id: string | undefined = undefined;
  #attributeCount = 0;
  #isSealed = false;

  /** @param endMs of one that is over; it takes attributes until it is exported */
  constructor(
    trace: TraceBuffer,
    parent: Span | undefined,
    template: SpanTemplate,
    startMs: number,
    endMs: number | undefined,
  ) {
    this.trace = trace;
    this.parent = parent;
    this.template = template;
    this.startMs = startMs;
    this.endMs = endMs;
  }

  get traceId(): string {
    return this.trace.traceId;
  }

  /** Made when somebody asks: of most spans nobody does. */
  get spanId(): string {
    this.#id ??= randomSpanId();
    return this.#id;
  }

  get isKept(): boolean {
    return this.trace.keepReason !== undefined;
  }

  get isOver(): boolean {
    return this.endMs !== undefined;
  }

  get traceparent(): string {
    return `00-${this.traceId}-${this.spanId}-${this.trace.isSampled ? "01" : "00"}`;
  }

  get tracestate(): string | undefined {
    return this.trace.tracestate;
  }

  get name(): string {
    return this.details?.name ?? this.template.name;
  }

  /** Has the whole trace kept, if it is not over. */
  keep(reason: KeepReason): void {
    this.trace.keep(reason);
  }

  /**
   * Marks what it stands for as failed; whether the trace is kept for it is the caller's to say.
   *
   * @param errorType the attribute `error.type`: a code, of few different ones, never a message
   */
  fail(errorType: string): this {
    if (this.#isSealed) return this;
    this.status = { code: SpanStatusCode.ERROR };
    return this.setAttribute(ATTR_ERROR_TYPE, errorType);
  }

  /** Begins a span under this one; undefined if there is no room for it. */
  startChild(template: SpanTemplate, startMs: number = performance.now()): Span | undefined {
    const child = new Span(this.trace, this, template, startMs, undefined);
    return this.trace.add(child) ? child : undefined;
  }

  /** Adds a span under this one that is over. What its caller sets on it before it waits for anything is exported. */
  record(template: SpanTemplate, startMs: number, endMs: number): Span | undefined {
    const child = new Span(this.trace, this, template, startMs, endMs);
    return this.trace.add(child) ? child : undefined;
  }

  // What follows is OpenTelemetry's API. After its end a span stays as it is, as the API demands.

  spanContext(): SpanContext {
    const { tracestate } = this;
    return {
      traceId: this.traceId,
      spanId: this.spanId,
      traceFlags: this.isKept ? TraceFlags.SAMPLED : TraceFlags.NONE,
      ...(tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }),
    };
  }

  setAttribute(key: string, value: AttributeValue): this {
    if (this.#isSealed) return this;
    this.attributes ??= {};
    const { attributes } = this;
    const sane = toAttributeValue(key, value);
    if (sane === undefined || (isLong(sane) && !this.#hasRoomFor(sizeOfValue(sane)))) {
      this.#detail().droppedAttributes += 1;
    } else if (Object.hasOwn(attributes, key)) {
      attributes[key] = sane;
    } else if (this.#attributeCount < mostAttributes) {
      this.#attributeCount += 1;
      attributes[key] = sane;
    } else {
      this.#detail().droppedAttributes += 1;
    }
    return this;
  }

  setAttributes(attributes: Attributes): this {
    for (const key of Object.keys(attributes ?? {})) this.setAttribute(key, attributes[key]);
    return this;
  }

  addEvent(name: string, attributesOrTime?: Attributes | TimeInput, time?: TimeInput): this {
    if (this.#isSealed) return this;
    const details = this.#detail();
    const [given, at] = isTime(attributesOrTime) ? [undefined, attributesOrTime] : [attributesOrTime, time];
    const { attributes, dropped } = toAttributes(given);
    const eventName = toName(name);
    const bytes = eventName.length + sizeOfAttributes(attributes);
    if (details.events.length >= mostEvents || !this.#hasRoomFor(bytes)) {
      details.droppedEvents += 1;
      return this;
    }
    details.events.push({
      name: eventName,
      atMs: this.trace.toPerformanceMs(at),
      attributes,
      droppedAttributes: dropped,
    });
    return this;
  }

  addLink(link: Link): this {
    if (this.#isSealed) return this;
    const details = this.#detail();
    const context = link?.context;
    const { attributes, dropped } = toAttributes(link?.attributes);
    const isSane = typeof context === "object" && context !== null && isSpanContextValid(context);
    if (!isSane || details.links.length >= mostLinks || !this.#hasRoomFor(sizeOfAttributes(attributes))) {
      details.droppedLinks += 1;
      return this;
    }
    const { traceId, spanId, traceFlags } = context;
    details.links.push({
      context: {
        traceId,
        spanId,
        traceFlags: traceFlags & TraceFlags.SAMPLED,
      },
      attributes,
      droppedAttributes: dropped,
    });
    return this;
  }

  addLinks(links: readonly Link[]): this {
    for (const link of links ?? []) this.addLink(link);
    return this;
  }

  /** Its message is not taken: it would be the text of an error. A span that is OK stays so. */
  setStatus(status: SpanStatus): this {
    if (this.#isSealed || this.status?.code === SpanStatusCode.OK) return this;
    const code = status?.code;
    if (code === SpanStatusCode.OK || code === SpanStatusCode.ERROR) this.status = { code };
    return this;
  }

  updateName(name: string): this {
    if (!this.#isSealed) this.#detail().name = toName(name);
    return this;
  }

  /**
   * The end of the root decides what becomes of the trace.
   *
   * @param endTime by `performance.now()` or by the clock, as the API has it; now by default
   */
  end(endTime?: TimeInput): void {
    this.#isSealed = true;
    if (this.endMs !== undefined) return;
    this.endMs = endTime === undefined ? performance.now() : this.trace.toPerformanceMs(endTime);
    this.trace.ended(this);
  }

  isRecording(): boolean {
    return this.endMs === undefined;
  }

  /** As an event with the type of the exception alone: messages and stacks hold what users wrote. */
  recordException(exception: Exception, time?: TimeInput): void {
    const type = typeof exception === "string" ? undefined : (exception?.name ?? exception?.code);
    this.addEvent("exception", { [ATTR_EXCEPTION_TYPE]: toName(String(type ?? "Error")) }, time);
  }

  /** Takes the room, if there is so much. */
  #hasRoomFor(bytes: number): boolean {
    const details = this.#detail();
    if (bytes > details.room) return false;
    details.room -= bytes;
    return true;
  }

  #detail(): SpanDetails {
    this.details ??= {
      events: [],
      links: [],
      droppedAttributes: 0,
      droppedEvents: 0,
      droppedLinks: 0,
      room: mostSpanBytes,
    };
    return this.details;
  }
}

const twoDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function isLong(value: AttributeValue): boolean {
  return typeof value === "string" ? value.length > shortCharacters : typeof value === "object";
}

/** 16 hex digits, not all 0. As unforeseeable as those of OpenTelemetry's own generators: it is no secret. */
function randomSpanId(): string {
  const high = (1 + Math.random() * 0xffff_fffe) >>> 0;
  return eightDigits(high) + eightDigits((Math.random() * 0x1_0000_0000) >>> 0);
}

// By a table: numbers beyond 31 bits are slow to write in another base.
function eightDigits(value: number): string {
  return `${twoDigits[value >>> 24]}${twoDigits[(value >>> 16) & 255]}${twoDigits[(value >>> 8) & 255]}${twoDigits[value & 255]}`;
}
