// What is noted of a request while it is answered, for its trace, its metrics and its access line.
import type { ServerResponse } from "node:http";
import { type Exchange, exchangeOf } from "./exchange.ts";

interface Fault {
  readonly code: string;
  readonly status: number;
}

/** A request is answered with an error. */
export function noteError(response: ServerResponse, { code, status }: Fault): void {
  const exchange = exchangeOf(response);
  // Of one that was marked nothing that comes later reaches the client.
  if (exchange === undefined || exchange.markedStatus !== undefined) return;
  exchange.errorCode = code;
  if (status >= 500) exchange.span?.keep("error");
}

/**
 * An answer that has begun breaks off by a fault that is not its client's.
 *
 * @param status what it counts as; what was sent, for one whose client is told in the answer
 */
export function noteBroken(response: ServerResponse, code: string, status?: number): void {
  const exchange = exchangeOf(response);
  if (exchange === undefined) return;
  exchange.errorCode = code;
  exchange.markedStatus = status;
  exchange.isBroken = true;
  exchange.span?.keep("error");
}

/** A request ends in a way that its response does not tell: it was answered past it, or this server breaks it off. */
export function markAnswered(exchange: Exchange, { code, status }: Fault): void {
  exchange.errorCode = code;
  exchange.markedStatus = status;
}

/** The answer of a request begins to be sent. Only the first call for a request counts. */
export function noteAnswering(response: ServerResponse): void {
  const exchange = exchangeOf(response);
  if (exchange === undefined || exchange.answeringMs !== undefined) return;
  const { route, startedMs, span } = exchange;
  exchange.answeringMs = performance.now();
  if (route?.isSlowUntilAnswer && exchange.answeringMs - startedMs > route.slowMs) span?.keep("slow");
}
