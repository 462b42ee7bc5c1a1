import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { EctusError } from "@ectus/core";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type EventStream, openEventStream } from "./event-stream.ts";

let server: Server;
let socket: Socket;
let response: ServerResponse;
const controller = () => new AbortController();
const kilobyte = "x".repeat(1_000);
const fault = new EctusError("upstream_error", { provider: "p", reason: "it broke" }).toBody();

beforeEach(async () => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.setEncoding("utf8");
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  [, response] = (await once(server, "request")) as [unknown, ServerResponse];
});
afterEach(async () => {
  socket.destroy();
  server.closeAllConnections();
  server.close();
});

/** Sends until the client may not be sent more. */
function sendUntilFull(events: EventStream): Promise<void> {
  for (;;) {
    const waiting = events.send(kilobyte);
    if (waiting !== undefined) return waiting;
  }
}

async function received(): Promise<string> {
  let text = "";
  socket.on("data", (piece) => {
    text += piece;
  });
  if (!response.writableFinished) await once(response, "finish");
  socket.end();
  await once(socket, "close");
  return text;
}

test("sends each event as data, and nothing that a cache or proxy would hold back", async () => {
  const events = openEventStream(response, controller().signal);
  await events.send("one");
  await events.send("two");
  events.end();
  const text = await received();
  expect(text).toContain("data: one\n\n");
  expect(text).toContain("data: two\n\n");
  expect(text).toMatch(/content-type: text\/event-stream; charset=utf-8/);
  expect(text).toMatch(/cache-control: no-cache, no-transform/);
});

test("ends with an error event when it fails", async () => {
  const events = openEventStream(response, controller().signal);
  await events.send("one");
  events.fail(fault);
  expect(await received()).toContain(`data: ${JSON.stringify(fault)}\n\n`);
});

test("waits for a reader that does not read until it reads", async () => {
  socket.pause();
  const events = openEventStream(response, controller().signal);
  const waiting = sendUntilFull(events);
  expect(events.waitedMs).toBe(0);
  const sinceMs = performance.now();
  await new Promise((resolve) => void setImmediate(resolve));
  const atLeastMs = performance.now() - sinceMs;
  socket.resume();
  await waiting;
  expect(events.waitedMs).toBeGreaterThanOrEqual(atLeastMs);
  await events.send("again");
  events.end();
});

test("rejects with the signal's reason while it waits, and at once after that", async () => {
  socket.pause();
  const leaving = controller();
  const events = openEventStream(response, leaving.signal);
  const waiting = sendUntilFull(events);
  const reason = new EctusError("shutting_down");
  leaving.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  expect(() => events.send("more")).toThrow(reason);
});

test("cuts a reader that takes nothing for too long", async () => {
  socket.pause();
  const leaving = controller();
  response.once("close", () => leaving.abort(new EctusError("client_closed_request")));
  const events = openEventStream(response, leaving.signal, 50);
  const flood = async () => {
    for (;;) await events.send(kilobyte);
  };
  await expect(flood()).rejects.toMatchObject({ code: "client_closed_request" });
});

test("cuts a reader that does not take the end", async () => {
  socket.pause();
  const events = openEventStream(response, controller().signal, 50);
  const closed = once(response, "close");
  // More than the kernel takes.
  response.write(Buffer.alloc(64 * 1024 * 1024));
  events.end();
  await closed;
  expect(response.writableFinished).toBe(false);
});

test("says nothing to a client that is gone", async () => {
  const events = openEventStream(response, controller().signal);
  socket.destroy();
  await once(response, "close");
  events.fail(fault);
  expect(response.destroyed).toBe(true);
});
