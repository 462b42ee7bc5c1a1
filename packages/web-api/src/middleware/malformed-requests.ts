// Answers what reaches no framework, in OpenAI's shape like everything else: what is no HTTP request at all, or comes
// too slowly, or asks for a tunnel.
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { EctusError, type Logger, type RequestContext } from "@ectus/core";
import { connectionOf, type Exchange } from "./exchange.ts";
import type { Refusal } from "./observability.ts";
import { newContext } from "./request-context.ts";
import { markAnswered, noteError } from "./request-outcome.ts";

const statusTexts: Readonly<Record<number, string>> = {
  400: "Bad Request",
  404: "Not Found",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

export interface MalformedRequestHandler {
  /** Takes the server's `clientError`. */
  handle(error: Error, socket: Socket): void;
  /** Tells it of the server whose tunnels it refuses, and where it tells of what it answered. */
  watch(server: Server, refused: (refusal: Refusal) => void): void;
}

const mostShownTarget = 200;
/** How long a client may take to see its answer and to close the connection. Nothing else would ever end it. */
const lingerMs = 2_000;

export function createMalformedRequestHandler(log: Logger): MalformedRequestHandler {
  let refused: (refusal: Refusal) => void = () => {};

  return {
    watch(server, tell) {
      refused = tell;
      // The framework has no part in it, and the server would only cut the connection.
      server.on("connect", ({ socket, method, url = "" }) => {
        const open = openOn(socket);
        socket.on("error", () => socket.destroy());
        // What comes for the tunnel is dropped; unread, it would hide that the client has closed.
        socket.resume();
        // The server has let go of the connection: it ends no more answers that wait on it.
        socket.once("close", () => {
          for (const { response } of open) response.destroy();
        });
        const fault = new EctusError("unknown_url", { method, path: url.slice(0, mostShownTarget) });
        if (isHalfSent(open)) socket.destroy();
        else refuse(socket, fault, method);
      });
    },
    handle(error, socket) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ECONNRESET" || !socket.writable) {
        socket.destroy();
        return;
      }
      const fault = toFault(code);
      const open = openOn(socket);
      const latest = connectionOf(socket)?.latest;
      // Where the fault is in a body, its request has its answer with this.
      const isBody = latest !== undefined && !latest.request.complete;
      // A client that sends its end within a body has most likely gone, and counts as that; it may still read.
      const isLeaving = isBody && code === "HPE_INVALID_EOF_STATE";
      log.debug({ code, requestId: latest?.context?.requestId }, "malformed request");
      if (isHalfSent(open)) {
        if (!isLeaving) for (const { response } of open) noteError(response, fault);
        socket.destroy();
      } else if (!isBody) {
        refuse(socket, fault);
      } else if (latest.isOver) {
        // It was refused before its body came.
        endSoon(socket);
      } else {
        answer(socket, fault, latest.context);
        if (!isLeaving) markAnswered(latest, fault);
      }
    },
  };

  /** Answers what is no request that began. */
  function refuse(socket: Socket, fault: EctusError, method?: string): void {
    const context = newContext();
    const bytes = answer(socket, fault, context);
    refused({ socket, method, context, status: fault.status, code: fault.code, bytes });
  }
}

/** Writes an answer and ends the connection; gives the bytes of the answer. */
function answer(socket: Socket, fault: EctusError, context: RequestContext = newContext()): number {
  const { requestId, correlationId } = context;
  const body = JSON.stringify(fault.toBody());
  const text =
    `HTTP/1.1 ${fault.status} ${statusTexts[fault.status]}\r\n` +
    `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
    `x-request-id: ${requestId}\r\n${correlationId === requestId ? "" : `x-correlation-id: ${correlationId}\r\n`}` +
    `connection: close\r\n\r\n${body}`;
  endSoon(socket, text);
  return Buffer.byteLength(text);
}

function endSoon(socket: Socket, text = ""): void {
  socket.end(text);
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
}

const openOn = (socket: Socket): readonly Exchange[] => connectionOf(socket)?.open() ?? [];

/** Whether an answer has begun: nothing else can be said on its connection. */
function isHalfSent(open: readonly Exchange[]): boolean {
  return open.some(({ response }) => response.headersSent);
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
