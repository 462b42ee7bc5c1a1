// The rest of a body whose request is refused. A connection that is closed while the client still writes is reset, and
// the client may never see why; so what comes is read and dropped for a while, and only then the connection is cut.
import type { IncomingMessage } from "node:http";

const mostBytes = 1024 * 1024;
const mostMs = 5_000;

/** Reads and drops what is left of a request's body, within bounds; the connection can be used again after it. */
export function drainRefusedBody(
  request: IncomingMessage,
  limits: { readonly bytes: number; readonly ms: number } = { bytes: mostBytes, ms: mostMs },
): void {
  if (request.complete || request.destroyed) return;
  const cut = (): void => {
    request.socket.destroy();
  };
  const timer = setTimeout(cut, limits.ms);
  timer.unref();
  let bytes = 0;
  request.unpipe();
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > limits.bytes) cut();
  });
  request.once("close", () => clearTimeout(timer));
  request.once("end", () => clearTimeout(timer));
  // A client that goes away is what this waits for, too.
  request.on("error", () => clearTimeout(timer));
  request.resume();
}
