// What is noted of a request while it is answered, for its trace and its access line.
import type { ServerResponse } from "node:http";
import { exchangeOf } from "./exchange.ts";

/** A request is answered with an error. */
export function noteError(
  response: ServerResponse,
  { code, status }: { code: string; status: number },
): void {
  const exchange = exchangeOf(response);
  if (exchange === undefined) return;
  exchange.errorCode = code;
  if (status >= 500) exchange.span?.keep("error");
}

/** An answer whose status is sent breaks off by a fault that is not its client's. */
export function noteBroken(response: ServerResponse, code: string): void {
  const exchange = exchangeOf(response);
  if (exchange === undefined) return;
  exchange.errorCode = code;
  exchange.isBroken = true;
  exchange.span?.keep("error");
}

/** The answer of a request begins to be sent. Only the first call for a request counts. */
export function noteAnswering(response: ServerResponse): void {
  const exchange = exchangeOf(response);
  if (exchange === undefined || exchange.answeringMs !== undefined) return;
  const { route, startedMs, span } = exchange;
  exchange.answeringMs = performance.now();
  if (route?.isSlowUntilAnswer && exchange.answeringMs - startedMs > route.slowMs) span?.keep("slow");
}
