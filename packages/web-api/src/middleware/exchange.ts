// A request with its answer, from its head to its end: the one record of it that its context, trace, metrics and access
// line share. And the connection that it is on.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { RequestContext } from "@ectus/core";
import type { Span } from "@ectus/monitoring";
import type { FastifyRequest } from "fastify";
import type { OverheadTimer } from "./gateway-overhead.ts";
import type { RouteSeries } from "./http-series.ts";
import type { ObservedRoute } from "./observed-route.ts";

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly connection: Connection;
  /** By `performance.now()`. */
  readonly startedMs: number;
  /** The one that came after it on its connection. */
  next: Exchange | undefined = undefined;
  /** Whether its end was told. */
  isOver = false;
  /** Whether the bytes of its request are told apart. */
  isSized = false;
  /** What the framework makes of it; undefined for a request that came to none of its hooks. */
  routed: FastifyRequest | undefined = undefined;
  route: ObservedRoute | undefined = undefined;
  /** Undefined where the framework answers by itself. */
  context: RequestContext | undefined = undefined;
  /** That of the server; undefined when it is not recorded. */
  span: Span | undefined = undefined;
  /** When the answer began, where that is what counts, by `performance.now()`. */
  answeringMs: number | undefined = undefined;
  /** Whether its handler has begun: with all of its body, unless it reads that itself. */
  isHandled = false;
  /** Of the error that it was answered with. */
  errorCode: string | undefined = undefined;
  /** What it counts as, where its answer does not tell. */
  markedStatus: number | undefined = undefined;
  /** Whether its answer broke off here, whatever its status. */
  isBroken = false;
  /** Set when its answer is counted. */
  series: RouteSeries | undefined = undefined;
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
  /** Whether what its client says of traces is believed; undefined until somebody asks. */
  isTrusted: boolean | undefined = undefined;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** Adds the exchange that begins now. */
  add(exchange: Exchange): void {
    if (this.latest === undefined) this.oldest = exchange;
    else this.latest.next = exchange;
    this.latest = exchange;
  }

  /** The exchanges that are not over, in their order. */
  open(): Exchange[] {
    const list: Exchange[] = [];
    for (let { oldest } = this; oldest !== undefined; oldest = oldest.next)
      if (!oldest.isOver) list.push(oldest);
    return list;
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
type ObservedSocket = Socket & { [connectionKey]?: Connection };

export function connectionOf(socket: Socket): Connection | undefined {
  return (socket as ObservedSocket)[connectionKey];
}

export function setConnection(socket: Socket, connection: Connection): void {
  (socket as ObservedSocket)[connectionKey] = connection;
}

/** The exchange of an answer; undefined when it is over, or none is kept. */
export function exchangeOf(response: ServerResponse): Exchange | undefined {
  let exchange = connectionOf(response.req.socket)?.oldest;
  while (exchange !== undefined && exchange.response !== response) exchange = exchange.next;
  return exchange;
}
