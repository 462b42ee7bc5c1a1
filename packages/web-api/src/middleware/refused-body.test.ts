import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { drainRefusedBody } from "./refused-body.ts";

let server: Server;
let socket: Socket;
let request: IncomingMessage;
let response: ServerResponse;

beforeEach(async () => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
  [request, response] = (await once(server, "request")) as [IncomingMessage, ServerResponse];
});
afterEach(() => {
  socket.destroy();
  server.closeAllConnections();
  server.close();
});

function refuse(limits: { bytes: number; ms: number }): void {
  drainRefusedBody(request, limits);
  response.writeHead(401).end();
}

test("a body that comes within the bounds is dropped, and the connection takes the next request", async () => {
  refuse({ bytes: 1_000, ms: 10_000 });
  socket.write("x".repeat(1_000));
  socket.write("GET /next HTTP/1.1\r\nhost: x\r\n\r\n");
  const [next] = (await once(server, "request")) as [IncomingMessage];
  expect(next.url).toBe("/next");
});

test("a body that is larger than that is cut", async () => {
  refuse({ bytes: 100, ms: 10_000 });
  const closed = once(socket, "close");
  socket.write("x".repeat(500));
  await closed;
});

test("a body that does not come in time is cut", async () => {
  refuse({ bytes: 1_000, ms: 20 });
  await once(socket, "close");
});

test("a client that leaves is no fault", async () => {
  refuse({ bytes: 1_000, ms: 10_000 });
  const closed = new Promise((resolve) => request.socket.once("close", resolve));
  socket.destroy();
  await closed;
});

test("a body that was read already is nothing to wait for", async () => {
  request.resume();
  socket.write("x".repeat(1_000));
  await once(request, "end");
  refuse({ bytes: 0, ms: 0 });
  socket.write("GET /next HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(server, "request");
});
