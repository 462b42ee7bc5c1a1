// Which status a request counts as, for the log and for the metrics alike.
import type { ServerResponse } from "node:http";

// What nginx logs for a client that closed the connection.
const clientClosed = 499;

const marked = Symbol("status that a request counts as");
type Answer = ServerResponse & { [marked]?: number };

/**
 * The status of an answer that is over: 499 when the client went away before its end, unless the answer was an error,
 * and at least begun.
 */
export function answeredStatus(response: ServerResponse): number {
  const status = (response as Answer)[marked];
  if (status !== undefined) return status;
  // An answer that waits for others on its connection has no socket, and none of it was sent.
  const isSent = response.headersSent && response.socket !== null;
  return response.writableFinished || (isSent && response.statusCode >= 400)
    ? response.statusCode
    : clientClosed;
}

/** Notes how a request ends that its response does not tell: it was answered past it, or this server breaks it off. */
export function markAnswered(response: ServerResponse, status: number): void {
  (response as Answer)[marked] = status;
}
