// Measures every request: how many, how long, how large, with which status. The end of an answer is the end of its
// request here; an answer ends when the system has all of it, or when its connection breaks.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Instruments } from "@ectus/monitoring";
import type { FastifyInstance } from "fastify";
import { answeredStatus } from "./answered-status.ts";
import { Connection, connectionOf, Exchange, exchangeOf, setConnection } from "./exchange.ts";
import { createHttpSeries } from "./http-series.ts";
import { takeRead, takeUnread, takeWritten } from "./wire-sizes.ts";

export interface HttpMetrics {
  /** Counts what was answered without a request: it could not be read, or the framework takes no part in it. */
  refused(refusal: Refusal): void;
}

export interface Refusal {
  readonly socket: Socket;
  readonly status: number;
  /** Of the answer, which was written to the socket itself. */
  readonly bytes: number;
  /** "other" if it is not known. */
  readonly method?: string;
}

/** Before any other hook that may answer, so that it sees every request. */
export function addHttpMetrics(app: FastifyInstance, instruments: Instruments): HttpMetrics {
  if (!instruments.enabled) return { refused() {} };
  const { server } = app;
  const series = createHttpSeries(instruments);
  const inFlight = instruments.gauge("http_requests_in_flight").labels({});
  const connections = instruments.gauge("http_active_connections").labels({});

  app.addHook("onRequest", (request, reply, done) => {
    begin(request.raw, reply.raw).routed = request;
    done();
  });
  server.on("connection", connected);
  // After the framework, for what it answers without a hook, as URLs that cannot be read.
  server.on("request", (request, response) => {
    if (connectionOf(request.socket)?.latest?.response !== response) begin(request, response);
  });
  // What the server does by itself, but with no event.
  if (server.listenerCount("checkExpectation") === 0)
    server.on("checkExpectation", (request, response) => {
      begin(request, response);
      response.writeHead(417).end();
    });

  /** Called for a connection when it is made, if the server tells, else at its first request. */
  function connected(socket: Socket): Connection {
    const connection = new Connection(socket);
    setConnection(socket, connection);
    connections.inc();
    socket.once("close", () => {
      connections.dec();
      for (let { oldest } = connection; oldest !== undefined; oldest = oldest.next) {
        answered(oldest);
        sized(oldest);
      }
    });
    return connection;
  }

  function begin(request: IncomingMessage, response: ServerResponse): Exchange {
    const connection = connectionOf(request.socket) ?? connected(request.socket);
    const exchange = new Exchange(request, response, connection);
    // The server begins to write this answer as soon as that before it is finished: before that is closed.
    connection.latest?.response.prependListener("finish", over);
    connection.add(exchange);
    inFlight.inc();
    response.on("close", over);
    return exchange;
  }

  function over(this: ServerResponse): void {
    const exchange = exchangeOf(this);
    if (exchange === undefined || exchange.series !== undefined) return;
    answered(exchange);
    // A request that was answered before its body came may still be read.
    if (exchange.request.complete) sized(exchange);
    else exchange.request.once("end", () => sized(exchange));
  }

  function answered(exchange: Exchange): void {
    if (exchange.series !== undefined) return;
    inFlight.dec();
    const { request, response, routed, startedMs } = exchange;
    // Where no route fits, there is no URL.
    const of = series(request.method, routed?.routeOptions.url);
    exchange.series = of;
    const seconds = (performance.now() - startedMs) / 1_000;
    const span = routed?.context?.span;
    of.answered(answeredStatus(response), seconds, span?.isKept ? { trace_id: span.traceId } : undefined);
    of.responseSize.observe(takeWritten(exchange.connection));
  }

  /** After its answer was counted. */
  function sized(exchange: Exchange): void {
    if (exchange.isSized) return;
    const bytes = takeRead(exchange);
    exchange.isSized = true;
    exchange.series?.requestSize.observe(bytes);
    exchange.connection.release();
  }

  return {
    refused({ socket, status, bytes, method }) {
      const connection = connectionOf(socket) ?? connected(socket);
      const of = series(method, undefined);
      // It has no head from which its time could run.
      of.answered(status, 0, undefined);
      of.requestSize.observe(takeUnread(connection));
      of.responseSize.observe(bytes);
      connection.bytesWritten += bytes;
    },
  };
}
