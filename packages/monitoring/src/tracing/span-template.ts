// What is known of a span before it happens. Templates are made once and kept, so that recording a span whose trace is
// dropped costs little more than two times.
import type { Attributes, SpanKind } from "@opentelemetry/api";
import type { InstrumentationScope } from "./readable-span.ts";

export interface SpanTemplate {
  /** Of few different ones: patterns of routes, names of tables, never what a request brings. */
  readonly name: string;
  readonly kind: SpanKind;
  /** Those that all spans of the template have. */
  readonly attributes: Attributes;
  /** What records the spans, if it is not this program. */
  readonly scope?: InstrumentationScope;
}
