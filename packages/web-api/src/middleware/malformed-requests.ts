// Answers what reaches no framework, in OpenAI's shape like everything else: what is no HTTP request at all, or comes
// too slowly, or asks for a tunnel.
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { EctusError, type Logger } from "@ectus/core";
import { markAnswered } from "./answered-status.ts";
import type { Refusals } from "./metrics.ts";
import { newRequestId } from "./request-context.ts";

const statusTexts: Readonly<Record<number, string>> = {
  400: "Bad Request",
  404: "Not Found",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

export interface MalformedRequestHandler {
  /** Takes the server's `clientError`. */
  handle(error: Error, socket: Socket): void;
  /** Tells it of the server whose answers it must not write into, and whose tunnels it refuses. */
  watch(server: Server, metrics?: Refusals): void;
}

const mostShownTarget = 200;

export function createMalformedRequestHandler(log: Logger): MalformedRequestHandler {
  const bySocket = new WeakMap<Socket, Traffic>();
  let refusals: Refusals | undefined;

  return {
    watch(server, metrics) {
      refusals = metrics;
      server.on("request", (request, response) => {
        let traffic = bySocket.get(request.socket);
        if (traffic === undefined) {
          traffic = { answering: new Set(), latest: request };
          bySocket.set(request.socket, traffic);
        }
        const { answering } = traffic;
        traffic.latest = request;
        answering.add(response);
        response.once("close", () => answering.delete(response));
      });
      // The framework has no part in it, and the server would only cut the connection.
      server.on("connect", ({ socket, method = "CONNECT", url = "" }) => {
        const answering = bySocket.get(socket)?.answering ?? new Set();
        socket.on("error", () => socket.destroy());
        // The server has let go of the connection: it ends no more answers that wait on it.
        socket.once("close", () => {
          for (const response of answering) response.destroy();
        });
        if (isHalfSent(answering)) {
          socket.destroy();
          return;
        }
        const fault = new EctusError("unknown_url", { method, path: url.slice(0, mostShownTarget) });
        refusals?.refused({ socket, method, status: fault.status, bytes: refuse(socket, fault) });
      });
    },
    handle(error, socket) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ECONNRESET" || !socket.writable) {
        socket.destroy();
        return;
      }
      const fault = toFault(code);
      const { answering = new Set<ServerResponse>(), latest } = bySocket.get(socket) ?? {};
      // Where the fault is in a body, its request has its answer with this.
      const isBody = latest !== undefined && !latest.complete;
      const response = isBody ? answering.values().find(({ req }) => req === latest) : undefined;
      if (isHalfSent(answering)) {
        log.info({ code, requestId: newRequestId() }, "malformed request");
        socket.destroy();
      } else if (isBody && response === undefined) {
        // It was refused before its body came.
        socket.end();
      } else {
        const bytes = refuse(socket, fault, code);
        if (response === undefined) refusals?.refused({ socket, status: fault.status, bytes });
        // A client that sent its end has most likely gone.
        else if (code !== "HPE_INVALID_EOF_STATE") markAnswered(response, fault.status);
      }
    },
  };

  /** Writes an answer and ends the connection; gives the bytes of the answer. */
  function refuse(socket: Socket, fault: EctusError, code?: string): number {
    const requestId = newRequestId();
    log.info({ code: code ?? fault.code, requestId }, "malformed request");
    const body = JSON.stringify(fault.toBody());
    const answer =
      `HTTP/1.1 ${fault.status} ${statusTexts[fault.status]}\r\n` +
      `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `x-request-id: ${requestId}\r\nconnection: close\r\n\r\n${body}`;
    socket.end(answer);
    return Buffer.byteLength(answer);
  }
}

interface Traffic {
  /** The answers in progress on a connection. */
  readonly answering: Set<ServerResponse>;
  latest: IncomingMessage;
}

/** Whether an answer has begun: nothing else can be said on its connection. */
function isHalfSent(answering: ReadonlySet<ServerResponse>): boolean {
  return answering.values().some(({ headersSent }) => headersSent);
}

function toFault(code: string | undefined): EctusError {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new EctusError("headers_too_large");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new EctusError("request_timeout");
    default:
      return new EctusError("malformed_request");
  }
}
