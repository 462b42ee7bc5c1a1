// A span as it is recorded: what OpenTelemetry's API asks for, and as little work as possible for one that is dropped.
import type { ActiveSpan } from "@ectus/core";
import {
  type Attributes,
  type AttributeValue,
  type Exception,
  type Link,
  type Span as OpenTelemetrySpan,
  type SpanContext,
  type SpanStatus,
  SpanStatusCode,
  type TimeInput,
  TraceFlags,
} from "@opentelemetry/api";
import type { KeepReason } from "./keep-reason.ts";
import type { SpanTemplate } from "./span-template.ts";
import type { TraceBuffer } from "./trace-buffer.ts";

export interface SpanEvent {
  readonly name: string;
  /** By `performance.now()`. */
  readonly atMs: number;
  readonly attributes: Attributes;
}

export class Span implements OpenTelemetrySpan, ActiveSpan {
  readonly trace: TraceBuffer;
  /** Undefined for the root of the trace in this process. */
  readonly parent: Span | undefined;
  /** By `performance.now()`. */
  readonly startMs: number;
  template: SpanTemplate;
  name: string | undefined = undefined;
  /** By `performance.now()`; NaN until it is over. */
  endMs = Number.NaN;
  attributes: Attributes | undefined = undefined;
  events: SpanEvent[] | undefined = undefined;
  links: Link[] | undefined = undefined;
  status: SpanStatus | undefined = undefined;
  #id: string | undefined = undefined;

  constructor(trace: TraceBuffer, parent: Span | undefined, template: SpanTemplate, startMs: number) {
    this.trace = trace;
    this.parent = parent;
    this.template = template;
    this.startMs = startMs;
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
    return !Number.isNaN(this.endMs);
  }

  get traceparent(): string {
    return `00-${this.traceId}-${this.spanId}-${this.trace.isSampled ? "01" : "00"}`;
  }

  get tracestate(): string | undefined {
    return this.trace.tracestate;
  }

  /** Has the whole trace kept. */
  keep(reason: KeepReason): void {
    this.trace.keep(reason);
  }

  /**
   * Marks what it stands for as failed; whether the trace is kept for it is the caller's to say.
   *
   * @param errorType the attribute `error.type`: a code, of few different ones, never a message
   */
  fail(errorType: string): this {
    this.status = { code: SpanStatusCode.ERROR };
    return this.setAttribute("error.type", errorType);
  }

  /** Begins a span under this one; undefined if there is no room for it. */
  startChild(template: SpanTemplate, startMs: number = performance.now()): Span | undefined {
    const child = new Span(this.trace, this, template, startMs);
    return this.trace.add(child) ? child : undefined;
  }

  /** Adds a span under this one that is over. */
  record(template: SpanTemplate, startMs: number, endMs: number): Span | undefined {
    const child = new Span(this.trace, this, template, startMs);
    child.endMs = endMs;
    if (!this.trace.add(child)) return undefined;
    return child;
  }

  // What follows is OpenTelemetry's API.

  spanContext(): SpanContext {
    return {
      traceId: this.traceId,
      spanId: this.spanId,
      traceFlags: this.isKept ? TraceFlags.SAMPLED : TraceFlags.NONE,
    };
  }

  setAttribute(key: string, value: AttributeValue): this {
    this.attributes ??= {};
    this.attributes[key] = value;
    return this;
  }

  setAttributes(attributes: Attributes): this {
    for (const [key, value] of Object.entries(attributes))
      if (value !== undefined) this.setAttribute(key, value);
    return this;
  }

  addEvent(name: string, attributesOrTime?: Attributes | TimeInput, _time?: TimeInput): this {
    this.events ??= [];
    this.events.push({ name, atMs: performance.now(), attributes: (attributesOrTime ?? {}) as Attributes });
    return this;
  }

  addLink(link: Link): this {
    this.links ??= [];
    this.links.push(link);
    return this;
  }

  addLinks(links: Link[]): this {
    for (const link of links) this.addLink(link);
    return this;
  }

  setStatus(status: SpanStatus): this {
    this.status = status;
    return this;
  }

  updateName(name: string): this {
    this.name = name;
    return this;
  }

  /** @param endTime milliseconds by `performance.now()`; now by default */
  end(endTime?: TimeInput): void {
    if (this.isOver) return;
    this.endMs = typeof endTime === "number" ? endTime : performance.now();
    this.trace.ended(this);
  }

  isRecording(): boolean {
    return !this.isOver;
  }

  recordException(_exception: Exception, _time?: TimeInput): void {
    this.status = { code: SpanStatusCode.ERROR };
  }
}

/** 16 hex digits, not all 0. As unforeseeable as those of OpenTelemetry's own generators: it is no secret. */
function randomSpanId(): string {
  const high = (1 + Math.random() * 0xffff_fffe) >>> 0;
  const low = (Math.random() * 0x1_0000_0000) >>> 0;
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}
