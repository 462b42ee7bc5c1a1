// Tells when each request begins and is over, also one whose connection breaks, that waits behind others, or that the
// framework takes no part in. The one place where that is known.
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Connection, connectionOf, Exchange, exchangeOf, setConnection } from "./exchange.ts";
import { newContext } from "./request-context.ts";

export interface ExchangeObserver {
  connected(): void;
  disconnected(): void;
  began(): void;
  /** Once for each exchange that began: its answer is over. */
  over(exchange: Exchange): void;
  /** Once for each, after its end: its request was read, or will not be. */
  sized(exchange: Exchange): void;
}

export interface Exchanges {
  /** The exchange of a request that has just come. */
  begun(request: IncomingMessage, response: ServerResponse): Exchange;
  connection(socket: Socket): Connection;
  /** How many are not over. */
  readonly inProgress: number;
  /** Those that are not over. */
  open(): Exchange[];
  /** Resolves when none is in progress. */
  idle(): Promise<void>;
}

export function trackExchanges(server: Server, observer: ExchangeObserver): Exchanges {
  const connections = new Set<Connection>();
  const waiting: (() => void)[] = [];
  let inProgress = 0;

  server.on("connection", connected);
  // Before the framework, which answers some without a hook, as URLs that cannot be read.
  server.prependListener("request", begin);
  // What the server does by itself, but with no event.
  if (server.listenerCount("checkExpectation") === 0)
    server.on("checkExpectation", (request, response) => {
      const context = newContext();
      begin(request, response).context = context;
      response.writeHead(417, { "x-request-id": context.requestId }).end();
    });

  /** Called for a connection when it is made, if the server tells, else at its first request. */
  function connected(socket: Socket): Connection {
    const connection = new Connection(socket);
    setConnection(socket, connection);
    connections.add(connection);
    observer.connected();
    socket.once("close", () => {
      connections.delete(connection);
      observer.disconnected();
      for (let { oldest } = connection; oldest !== undefined; oldest = oldest.next) {
        ended(oldest);
        sized(oldest);
      }
    });
    return connection;
  }

  const connection = (socket: Socket): Connection => connectionOf(socket) ?? connected(socket);

  function begin(request: IncomingMessage, response: ServerResponse): Exchange {
    const on = connection(request.socket);
    const exchange = new Exchange(request, response, on);
    // The server begins to write this answer as soon as that before it is finished: before that is closed.
    on.latest?.response.prependListener("finish", over);
    on.add(exchange);
    inProgress += 1;
    observer.began();
    response.on("close", over);
    return exchange;
  }

  function over(this: ServerResponse): void {
    const exchange = exchangeOf(this);
    if (exchange === undefined || exchange.isOver) return;
    ended(exchange);
    // A request that was answered before its body came may still be read.
    if (exchange.request.complete) sized(exchange);
    else exchange.request.once("end", () => sized(exchange));
  }

  function ended(exchange: Exchange): void {
    if (exchange.isOver) return;
    exchange.isOver = true;
    observer.over(exchange);
    inProgress -= 1;
    if (inProgress === 0) for (const tell of waiting.splice(0)) tell();
  }

  function sized(exchange: Exchange): void {
    if (exchange.isSized) return;
    observer.sized(exchange);
    exchange.isSized = true;
    exchange.connection.release();
  }

  return {
    begun(request, response) {
      const latest = connectionOf(request.socket)?.latest;
      // A server that listens on several addresses tells only of the first.
      return latest?.request === request ? latest : begin(request, response);
    },
    connection,
    get inProgress() {
      return inProgress;
    },
    open: () => [...connections].flatMap((one) => one.open()),
    idle: () => (inProgress === 0 ? Promise.resolve() : new Promise((resolve) => void waiting.push(resolve))),
  };
}
