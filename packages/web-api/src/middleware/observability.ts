// What every request gets: its context, its trace, its metrics and its line in the log. All of them are about one
// record, begin with it and end with it, and lead to each other by the ids in it.
import type { Socket } from "node:net";
import { type Logging, type LogSample, type RequestContext, runInContext } from "@ectus/core";
import { type Instruments, Span, type Tracing } from "@ectus/monitoring";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { createAccessLog } from "./access-log.ts";
import { answeredStatus, clientClosed } from "./answered-status.ts";
import type { Exchange } from "./exchange.ts";
import { type Exchanges, trackExchanges } from "./exchanges.ts";
import { createHttpMetrics } from "./metrics.ts";
import { createObservedRoutes, type ObservedRoute } from "./observed-route.ts";
import { correlationIdOf, hexOfRequestId, newRequestId } from "./request-context.ts";
import { noteAnswering } from "./request-outcome.ts";
import { keepReasonOf, RequestSpans } from "./request-span.ts";
import { createTrustedPeers } from "./trusted-peers.ts";

export interface ObservabilityOptions {
  readonly logging: Logging;
  readonly instruments: Instruments;
  readonly tracing: Tracing;
  readonly traceTrustedPeers: readonly string[];
  readonly slowRequestMs: number;
  readonly slowInferenceMs: number;
  readonly logSample: ReadonlyMap<string, LogSample>;
}

/** What was answered past the framework, which takes no part in it, or could not be read. */
export interface Refusal {
  readonly socket: Socket;
  /** Undefined if it is not known. */
  readonly method: string | undefined;
  readonly context: RequestContext;
  readonly status: number;
  readonly code: string;
  /** Of the answer, which was written to the socket itself. */
  readonly bytes: number;
}

export interface Observability {
  readonly exchanges: Exchanges;
  /** Counts and logs what came as no request to this server. */
  refused(refusal: Refusal): void;
}

declare module "fastify" {
  interface FastifyInstance {
    /** For what the framework answers without a hook, as a URL that it cannot read. */
    observeUnrouted(request: FastifyRequest, reply: FastifyReply): void;
  }
}

const notTrusted = (): boolean => false;

/**
 * Before any other hook that may answer, so that it sees every request; and before the routes.
 *
 * Every answer has its request's id as `x-request-id`; and as `x-correlation-id` that of its caller, if that was taken.
 */
export function addObservability(app: FastifyInstance, options: ObservabilityOptions): Observability {
  const { instruments, logging, tracing, slowRequestMs, slowInferenceMs } = options;
  const metrics = instruments.enabled ? createHttpMetrics(instruments) : undefined;
  const accessLog = createAccessLog({ logging, samples: options.logSample });
  const isTrustedPeer = createTrustedPeers(options.traceTrustedPeers);
  const routeOf = createObservedRoutes(({ method, url, slowAfter = slowRequestMs }) => ({
    slowMs: slowAfter === "inference" ? slowInferenceMs : slowAfter,
    isSlowUntilAnswer: slowAfter === "inference",
    series: metrics?.series(method, url),
    spans: new RequestSpans(method, url),
    lines: accessLog.lines(method, url),
  }));
  const exchanges = trackExchanges(app.server, {
    connected: () => metrics?.connected(),
    disconnected: () => metrics?.disconnected(),
    began: () => metrics?.began(),
    over,
    sized: (exchange) => metrics?.sized(exchange),
  });

  app.setGenReqId(newRequestId);
  app.decorateRequest("context");
  app.decorate("observeUnrouted", (request, reply) => {
    observe(request, reply, routeOf(request.raw.method, undefined));
  });
  app.addHook("onRequest", (request, reply, done) => {
    const { url, config } = request.routeOptions;
    runInContext(observe(request, reply, routeOf(request.raw.method, url, config)), done);
  });

  function observe(request: FastifyRequest, reply: FastifyReply, route: ObservedRoute): RequestContext {
    const { id, raw } = request;
    const { headers } = raw;
    const exchange = exchanges.begun(raw, reply.raw);
    const { traceparent } = headers;
    const span = tracing.beginRequest(route.spans.begun, {
      id: hexOfRequestId(id),
      traceparent,
      tracestate: headers.tracestate,
      isTrusted: traceparent === undefined ? notTrusted : () => isTrustedPeer(exchange.connection),
    });
    const correlationId = correlationIdOf(headers) ?? id;
    const context: RequestContext = { correlationId, requestId: id, span, tenantId: undefined };
    request.context = context;
    exchange.context = context;
    exchange.routed = request;
    exchange.route = route;
    if (span instanceof Span) exchange.span = span;
    reply.header("x-request-id", id);
    if (correlationId !== id) reply.header("x-correlation-id", correlationId);
    return context;
  }

  app.addHook("onRoute", (route) => {
    if (route.config?.slowAfter === "inference")
      route.onSend = [
        route.onSend ?? [],
        (_request: unknown, { raw }: FastifyReply, payload: unknown, done: (e: null, p: unknown) => void) => {
          noteAnswering(raw);
          done(null, payload);
        },
      ].flat();
  });

  function over(exchange: Exchange): void {
    const { request, startedMs, span } = exchange;
    const status = answeredStatus(exchange);
    if (status === clientClosed) exchange.errorCode ??= "client_closed_request";
    const endMs = performance.now();
    const route = exchange.route ?? routeOf(request.method, undefined);
    const slowUntilMs = route.isSlowUntilAnswer ? (exchange.answeringMs ?? endMs) : endMs;
    const isSlow = slowUntilMs - startedMs > route.slowMs;
    const reason = keepReasonOf(exchange, status, isSlow);
    if (reason !== undefined) span?.keep(reason);
    if (metrics !== undefined && route.series !== undefined) {
      const exemplar = span?.isKept ? { trace_id: span.traceId } : undefined;
      metrics.answered(exchange, route.series, status, endMs - startedMs, exemplar);
    }
    accessLog.write(exchange, route.lines, { status, endMs, isSlow });
    route.spans.end(exchange, status, endMs);
  }

  return {
    exchanges,
    refused({ socket, method = "other", context, status, code, bytes }) {
      const connection = exchanges.connection(socket);
      const { series, lines } = routeOf(method, undefined);
      if (series !== undefined) metrics?.refused(connection, series, status, bytes);
      // It has no head from which its time could run.
      const endMs = performance.now();
      const refused = {
        context,
        connection,
        errorCode: code,
        startedMs: endMs,
        span: undefined,
        isBroken: false,
      };
      accessLog.write(refused, lines, { status, endMs, isSlow: false });
    },
  };
}
