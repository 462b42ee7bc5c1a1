// The span of one HTTP exchange with an upstream, `HTTP POST`, by OpenTelemetry's conventions 1.45 for HTTP clients, and
// the headers by which the upstream's own trace goes on from it.
import { type ActiveSpan, currentContext } from "@ectus/core";
import { type Span, type SpanTemplate, startSpan } from "@ectus/monitoring";
import { SpanKind } from "@opentelemetry/api";
import {
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_REQUEST_RESEND_COUNT,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_NETWORK_PROTOCOL_VERSION,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
  ATTR_URL_TEMPLATE,
} from "@opentelemetry/semantic-conventions/incubating";
import { providerAttribute } from "../../provider-name.ts";

/** @param operation the path of the API below the configured one, which may hold a gateway's secret and is left out */
export function exchangeTemplate(
  provider: string,
  { hostname, port, protocol }: URL,
  operation: string,
): SpanTemplate {
  return {
    name: "HTTP POST",
    kind: SpanKind.CLIENT,
    attributes: {
      [ATTR_HTTP_REQUEST_METHOD]: "POST",
      // Without the brackets that an IPv6 address has in a URL.
      [ATTR_SERVER_ADDRESS]: hostname.replace(/^\[|\]$/g, ""),
      [ATTR_SERVER_PORT]: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
      [ATTR_URL_TEMPLATE]: `/${operation}`,
      [ATTR_NETWORK_PROTOCOL_VERSION]: "1.1",
      [providerAttribute]: provider,
    },
  };
}

/**
 * Begins the span of an exchange under that of the work in progress; undefined when nothing is recorded.
 *
 * @param tried how often the same request was sent before
 */
export function startExchangeSpan(template: SpanTemplate, tried: number): Span | undefined {
  const span = startSpan(template);
  if (tried > 0) span?.setAttribute(ATTR_HTTP_REQUEST_RESEND_COUNT, tried);
  return span;
}

/** How an exchange ended: with its answer, with an error, or because nobody here wants more of it. */
export type ExchangeEnd =
  | { readonly how: "answered" }
  | { readonly how: "failed"; readonly errorType: string }
  | { readonly how: "aborted" | "stopped" };

/** @param status that of the answer's head; 0 if none came */
export function endExchangeSpan(span: Span, status: number, end: ExchangeEnd): void {
  if (status !== 0) span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, status);
  switch (end.how) {
    case "answered":
      if (status >= 400) span.fail(String(status));
      break;
    case "failed":
      span.fail(end.errorType);
      break;
    case "aborted":
    case "stopped":
      span.setAttribute("ectus.outcome", end.how);
  }
  span.end();
}

/**
 * Adds to `headers` where the trace stands: the exchange's span, or, where none is recorded, what the work in progress
 * belongs to, be it the caller's trace. Ids of traces are random and say nothing of anybody, so that every upstream gets
 * them. `tracestate` is there only from callers that are trusted with it; baggage, which may hold anything, is never
 * sent.
 */
export function addTraceHeaders(headers: string[], span: Span | undefined): void {
  const position: ActiveSpan | undefined = span ?? currentContext()?.span;
  if (position === undefined) return;
  const { traceparent, tracestate } = position;
  headers.push("traceparent", traceparent);
  if (tracestate !== undefined) headers.push("tracestate", tracestate);
}
