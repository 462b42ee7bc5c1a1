// HTTP's metrics, by the pattern of the route, never the raw URL. A request counts when it is over.
import type { Instruments } from "@ectus/monitoring";
import type { FastifyInstance } from "fastify";
import { answeredStatus } from "./answered-status.ts";
import type { Connection, Exchange } from "./exchange.ts";
import { trackExchanges } from "./exchanges.ts";
import { createHttpSeries, type Exemplar, type RouteSeries } from "./http-series.ts";
import { takeRead, takeUnread, takeWritten } from "./wire-sizes.ts";

export interface HttpMetrics {
  /** Of a method and a route's pattern; undefined where no route fits. */
  series(method: string | undefined, path: string | undefined): RouteSeries;
  connected(): void;
  disconnected(): void;
  began(): void;
  answered(exchange: Exchange, of: RouteSeries, status: number, ms: number, exemplar?: Exemplar): void;
  /** After its answer was counted. */
  sized(exchange: Exchange): void;
  /**
   * Counts what was answered past the framework, or could not be read.
   *
   * @param bytes of the answer, which was written to the socket itself
   */
  refused(connection: Connection, of: RouteSeries, status: number, bytes: number): void;
}

export function createHttpMetrics(instruments: Instruments): HttpMetrics {
  const series = createHttpSeries(instruments);
  const inFlight = instruments.gauge("http_requests_in_flight").labels({});
  const connections = instruments.gauge("http_active_connections").labels({});
  return {
    series,
    connected: () => connections.inc(),
    disconnected: () => connections.dec(),
    began: () => inFlight.inc(),
    answered(exchange, of, status, ms, exemplar) {
      inFlight.dec();
      exchange.series = of;
      of.answered(status, ms / 1_000, exemplar);
      // One that broke with a status of its own is among the errors.
      if (exchange.isBroken && status < 500) of.broke(exemplar);
      of.responseSize.observe(takeWritten(exchange.connection));
    },
    sized(exchange) {
      exchange.series?.requestSize.observe(takeRead(exchange));
    },
    refused(connection, of, status, bytes) {
      // It has no head from which its time could run.
      of.answered(status, 0, undefined);
      of.requestSize.observe(takeUnread(connection));
      of.responseSize.observe(bytes);
      connection.bytesWritten += bytes;
    },
  };
}

/** For a server that has its metrics from here and nothing else. Before any other hook that may answer. */
export function addHttpMetrics(app: FastifyInstance, instruments: Instruments): void {
  if (!instruments.enabled) return;
  const metrics = createHttpMetrics(instruments);
  const { connected, disconnected, began, sized } = metrics;
  const exchanges = trackExchanges(app.server, { connected, disconnected, began, sized, over });
  app.addHook("onRequest", (request, reply, done) => {
    exchanges.begun(request.raw, reply.raw).routed = request;
    done();
  });

  function over(exchange: Exchange): void {
    const { request, routed, startedMs } = exchange;
    const of = metrics.series(request.method, routed?.routeOptions.url);
    metrics.answered(exchange, of, answeredStatus(exchange), performance.now() - startedMs);
  }
}
