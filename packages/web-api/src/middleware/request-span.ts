// The server's span of each request: names and attributes follow OpenTelemetry's semantic conventions for HTTP, version
// 1.45. Neither the URL, its query, a header nor an address is among them: they may hold what nobody should read.
import type { KeepReason, SpanTemplate } from "@ectus/monitoring";
import { type Attributes, SpanKind } from "@opentelemetry/api";
import {
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_REQUEST_METHOD_ORIGINAL,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
  ATTR_NETWORK_PROTOCOL_VERSION,
  ATTR_URL_SCHEME,
} from "@opentelemetry/semantic-conventions";
import type { Exchange } from "./exchange.ts";
import { standardMethods } from "./http-series.ts";

// Ours: what a customer or a log line has, to find the trace by.
const requestIdAttribute = "ectus.request_id";
const correlationIdAttribute = "ectus.correlation_id";
const tenantIdAttribute = "ectus.tenant_id";

/** The spans of one method of one route. Their templates are kept by status. */
export class RequestSpans {
  /** Of a request whose answer is not known. */
  readonly begun: SpanTemplate;
  readonly #byStatus = new Map<number, SpanTemplate>();

  constructor(method: string, route: string | undefined) {
    const isStandard = standardMethods.has(method);
    const name = isStandard ? method : "HTTP";
    this.begun = {
      name: route === undefined ? name : `${name} ${route}`,
      kind: SpanKind.SERVER,
      attributes: {
        [ATTR_HTTP_REQUEST_METHOD]: isStandard ? method : "_OTHER",
        ...(isStandard ? {} : { [ATTR_HTTP_REQUEST_METHOD_ORIGINAL]: method }),
        ...(route === undefined ? {} : { [ATTR_HTTP_ROUTE]: route }),
      },
    };
  }

  /** Ends the span of a request that is over. */
  end(exchange: Exchange, status: number, endMs: number): void {
    const { span } = exchange;
    if (span === undefined) return;
    if (span.isKept) {
      span.template = this.#template(status);
      span.setAttributes(attributesOf(exchange));
      // 4xx is the client's fault, 499 its leave: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status
      if (status >= 500 || exchange.isBroken) span.fail(exchange.errorCode ?? String(status));
    }
    span.end(endMs);
  }

  #template(status: number): SpanTemplate {
    let template = this.#byStatus.get(status);
    if (template === undefined) {
      const { attributes } = this.begun;
      template = { ...this.begun, attributes: { ...attributes, [ATTR_HTTP_RESPONSE_STATUS_CODE]: status } };
      this.#byStatus.set(status, template);
    }
    return template;
  }
}

function attributesOf({ request, routed, span, context }: Exchange): Attributes {
  const attributes: Attributes = {
    // As the client sees it, which may be a proxy's work.
    [ATTR_URL_SCHEME]: routed?.protocol === "https" ? "https" : "http",
    [ATTR_NETWORK_PROTOCOL_VERSION]: request.httpVersion,
  };
  if (context === undefined) return attributes;
  const { requestId, correlationId, tenantId } = context;
  // The trace has a caller's id then.
  if (!requestId.endsWith(span?.traceId ?? "")) attributes[requestIdAttribute] = requestId;
  if (correlationId !== requestId) attributes[correlationIdAttribute] = correlationId;
  if (tenantId !== undefined) attributes[tenantIdAttribute] = tenantId;
  return attributes;
}

/** Why the trace of a request that is over is to be kept, if it is not by chance. */
export function keepReasonOf(
  { isBroken }: Exchange,
  status: number,
  isSlow: boolean,
): KeepReason | undefined {
  if (status >= 500 || isBroken) return "error";
  return isSlow ? "slow" : undefined;
}
