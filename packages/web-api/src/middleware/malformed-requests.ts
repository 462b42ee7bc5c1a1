// Answers what is no HTTP request at all, in OpenAI's shape like everything else.
import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { EctusError, type Logger } from "@ectus/core";
import { newRequestId } from "./request-context.ts";

const statusTexts: Readonly<Record<number, string>> = {
  400: "Bad Request",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

export interface MalformedRequestHandler {
  /** Takes the server's `clientError`. */
  handle(error: Error, socket: Socket): void;
  /** Tells it of the server whose answers it must not write into. */
  watch(server: Server): void;
}

export function createMalformedRequestHandler(log: Logger): MalformedRequestHandler {
  // The answers in progress on a connection.
  const answering = new WeakMap<Socket, Set<ServerResponse>>();
  return {
    watch(server) {
      server.on("request", (request, response) => {
        const responses = answering.get(request.socket) ?? new Set();
        answering.set(request.socket, responses.add(response));
        response.once("close", () => responses.delete(response));
      });
    },
    handle(error, socket) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ECONNRESET" || !socket.writable) {
        socket.destroy();
        return;
      }
      const fault = toFault(code);
      const requestId = newRequestId();
      log.info({ code, requestId }, "malformed request");
      if (
        answering
          .get(socket)
          ?.values()
          .some((response) => response.headersSent)
      ) {
        // An answer is half sent: nothing else can be said on this connection.
        socket.destroy();
        return;
      }
      const body = JSON.stringify(fault.toBody());
      socket.end(
        `HTTP/1.1 ${fault.status} ${statusTexts[fault.status]}\r\n` +
          `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
          `x-request-id: ${requestId}\r\nconnection: close\r\n\r\n${body}`,
      );
    },
  };
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
