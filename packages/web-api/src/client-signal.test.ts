import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { EctusError } from "@ectus/core";
import type { FastifyReply } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createClientSignals } from "./client-signal.ts";

let server: Server;
let socket: Socket;
let response: ServerResponse;
const replyOf = (raw: ServerResponse): FastifyReply => ({ raw }) as unknown as FastifyReply;

beforeEach(async () => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  socket = connect((server.address() as AddressInfo).port, "127.0.0.1").resume();
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  [, response] = (await once(server, "request")) as [unknown, ServerResponse];
});
afterEach(() => {
  socket.destroy();
  server.closeAllConnections();
  server.close();
});

test("is aborted when the client goes away", async () => {
  const signal = createClientSignals().of(replyOf(response));
  expect(signal.aborted).toBe(false);
  socket.destroy();
  await once(signal, "abort");
  expect(signal.reason).toMatchObject({ code: "client_closed_request" });
});

test("is aborted from the start for a client that went away before it was asked for", async () => {
  socket.destroy();
  await once(response, "close");
  expect(createClientSignals().of(replyOf(response)).reason).toMatchObject({ code: "client_closed_request" });
});

test("is not aborted by an answer that is complete, nor by what comes after it", async () => {
  const signals = createClientSignals();
  const signal = signals.of(replyOf(response));
  response.end("x");
  await once(response, "close");
  signals.abortAll(new EctusError("shutting_down"));
  expect(signal.aborted).toBe(false);
});

test("is aborted with the reason that all are aborted with", () => {
  const signals = createClientSignals();
  const signal = signals.of(replyOf(response));
  const reason = new EctusError("shutting_down");
  signals.abortAll(reason);
  expect(signal.reason).toBe(reason);
});
