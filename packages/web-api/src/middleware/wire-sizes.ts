// How many bytes of a connection each of its requests and answers had, heads and framing included. The socket counts
// the bytes of a connection; here they are told apart.
//
// Exact are an answer that was sent to its end, and a request that has the connection for itself. Of requests that came
// without waiting for answers, the sum is exact; each of them is, too, when it tells its length and is written as all
// clients write it. An answer that was broken off has what the system had been given of it, sent or not.
import type { IncomingMessage } from "node:http";
import type { Connection, Exchange } from "./exchange.ts";

/** The bytes of the answer that ends now. Only its own, when the next answer on the connection has not begun. */
export function takeWritten(connection: Connection): number {
  // What waited in the socket when it broke is gone, and was counted with no answer.
  const bytes = Math.max(connection.socket.bytesWritten - connection.bytesWritten, 0);
  connection.bytesWritten += bytes;
  return bytes;
}

/** The bytes of a request that is over. */
export function takeRead({ request, next, connection }: Exchange): number {
  return take(connection, next === undefined ? undefined : wholeSize(request), next);
}

/** The bytes that came and belong to no request on the connection. */
export function takeUnread(connection: Connection): number {
  return take(connection, undefined, connection.oldest);
}

/** @param size what is left after `later` requests if it is not known */
function take(connection: Connection, size: number | undefined, later: Exchange | undefined): number {
  let left = connection.socket.bytesRead - connection.bytesRead;
  if (size === undefined) {
    for (let other = later; other !== undefined; other = other.next)
      if (!other.isSized) left -= wholeSize(other.request) ?? headSize(other.request);
  }
  const bytes = size === undefined ? Math.max(left, 0) : Math.min(size, left);
  connection.bytesRead += bytes;
  return bytes;
}

/** Bytes of a request that came whole, if its head tells. */
function wholeSize(request: IncomingMessage): number | undefined {
  if (!request.complete) return undefined;
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (encoding !== undefined) return undefined;
  return headSize(request) + (length === undefined ? 0 : Number(length));
}

// " HTTP/1.1", the ends of the first and of the last line, and the space after the method.
const firstAndLastLine = 14;
// A colon, a space, and the end of the line.
const aroundHeader = 4;

/** Bytes of a head as all clients write it. Its texts have a character for each byte. */
function headSize({ method, url, rawHeaders }: IncomingMessage): number {
  let bytes = firstAndLastLine + (method as string).length + (url as string).length;
  for (const text of rawHeaders) bytes += text.length;
  return bytes + (rawHeaders.length >> 1) * aroundHeader;
}
