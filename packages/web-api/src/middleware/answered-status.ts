// Which status a request counts as, for the log, the trace and the metrics alike.
import type { Exchange } from "./exchange.ts";

/** What nginx logs for a client that closed the connection. */
export const clientClosed = 499;

/**
 * The status of an answer that is over: 499 when the client went away before its end, unless the answer was an error,
 * and at least begun.
 */
export function answeredStatus({ markedStatus, response }: Exchange): number {
  if (markedStatus !== undefined) return markedStatus;
  // An answer that waits for others on its connection has no socket, and none of it was sent.
  const isSent = response.headersSent && response.socket !== null;
  return response.writableFinished || (isSent && response.statusCode >= 400)
    ? response.statusCode
    : clientClosed;
}
