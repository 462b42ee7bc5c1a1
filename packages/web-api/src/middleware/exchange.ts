// A connection with the requests on it that are not over, as the metrics see them.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyRequest } from "fastify";
import type { OverheadTimer } from "./gateway-overhead.ts";
import type { RouteSeries } from "./http-series.ts";

/** A request and its answer. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly connection: Connection;
  /** By `performance.now()`. */
  readonly startedMs: number;
  /** What its route is known by; undefined for a request that came to none. */
  routed: FastifyRequest | undefined = undefined;
  /** The one that came after it on its connection. */
  next: Exchange | undefined = undefined;
  /** Set when its answer is counted. */
  series: RouteSeries | undefined = undefined;
  /** Whether the bytes of its request were counted. */
  isSized = false;
  /** For routes that may be of inference. */
  overhead: OverheadTimer | undefined = undefined;

  constructor(request: IncomingMessage, response: ServerResponse, connection: Connection) {
    this.request = request;
    this.response = response;
    this.connection = connection;
    this.startedMs = performance.now();
  }
}

/** Mostly it has one exchange: the next comes when its client has the answer. */
export class Connection {
  readonly socket: Socket;
  oldest: Exchange | undefined = undefined;
  latest: Exchange | undefined = undefined;
  /** Bytes that belong to requests whose sizes are known. */
  bytesRead = 0;
  /** Bytes that belong to answers that are over. */
  bytesWritten = 0;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** Adds the exchange that begins now. */
  add(exchange: Exchange): void {
    if (this.latest === undefined) this.oldest = exchange;
    else this.latest.next = exchange;
    this.latest = exchange;
  }

  /** Lets go of what is over. */
  release(): void {
    let { oldest } = this;
    while (oldest?.isSized) oldest = oldest.next;
    this.oldest = oldest;
    if (oldest === undefined) this.latest = undefined;
  }
}

const connectionKey = Symbol("connection");
type MeasuredSocket = Socket & { [connectionKey]?: Connection };

export function connectionOf(socket: Socket): Connection | undefined {
  return (socket as MeasuredSocket)[connectionKey];
}

export function setConnection(socket: Socket, connection: Connection): void {
  (socket as MeasuredSocket)[connectionKey] = connection;
}

/** What is measured of an answer; undefined without metrics, and when it is over. */
export function exchangeOf(response: ServerResponse): Exchange | undefined {
  let exchange = connectionOf(response.req.socket)?.oldest;
  while (exchange !== undefined && exchange.response !== response) exchange = exchange.next;
  return exchange;
}
