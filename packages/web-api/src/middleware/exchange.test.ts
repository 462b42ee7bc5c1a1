import { once } from "node:events";
import type { Socket } from "node:net";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type Client,
  get,
  type MeasuredServer,
  startMeasuredServer,
} from "../../../../tests/api/measured-server.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { connectionOf } from "./exchange.ts";

let server: MeasuredServer;
beforeEach(async () => {
  server = await startMeasuredServer();
});
afterEach(() => server[Symbol.asyncDispose]());

type Step =
  | { readonly do: "send"; readonly client: number; readonly text: string }
  | { readonly do: "pause" | "end" | "reset" | "destroy" | "server closes"; readonly client: number };

const whichClient = fc.nat(2);
const post = (path: string, headers: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n${headers}\r\n\r\n`;
const pieces = [
  get("/small/1"),
  get("/small/1", "Connection: close\r\n"),
  get("/hang"),
  get("/chunked"),
  get("/many"),
  get("/broken"),
  get("/nowhere"),
  get("/%zz"),
  get("/small/1", "Expect: a-miracle\r\n"),
  post("/echo", "Content-Length: 10"),
  post("/refused", "Content-Length: 10"),
  post("/echo", "Transfer-Encoding: chunked"),
  "5\r\nhello\r\n0\r\n\r\n",
  "0123456789",
  "GET /sma",
  "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
  "garbage\r\n\r\n",
];
const sending: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("send" as const),
  client: whichClient,
  text: fc.constantFrom(...pieces),
});
const ending: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom(
    "pause" as const,
    "end" as const,
    "reset" as const,
    "destroy" as const,
    "server closes" as const,
  ),
  client: whichClient,
});
const steps = fc.array(
  fc.tuple(fc.oneof({ arbitrary: sending, weight: 5 }, { arbitrary: ending, weight: 1 }), fc.nat(3)),
  { minLength: 1, maxLength: 30 },
);

test("whatever is sent and however it ends, each request is counted and logged once and nothing is left open", async () => {
  const { app, registry } = server;
  const sockets = new Set<Socket>();
  let seen = 0;
  app.server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  app.server.on("request", () => {
    seen += 1;
  });
  app.server.prependListener("checkExpectation", () => {
    seen += 1;
  });
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      seen = 0;
      registry.resetMetrics();
      server.lines.length = 0;
      const clients = await Promise.all([server.client(), server.client(), server.client()]);
      let sent = 0;
      for (const [step, turns] of list) {
        const { socket } = clients[step.client] as Client;
        switch (step.do) {
          case "send":
            if (!socket.writable) break;
            sent += step.text.length;
            socket.write(step.text, "latin1");
            break;
          case "pause":
            socket.pause();
            break;
          case "end":
            socket.end();
            break;
          case "reset":
            socket.resetAndDestroy();
            break;
          case "destroy":
            socket.destroy();
            break;
          case "server closes":
            app.server.closeIdleConnections();
        }
        for (let turn = 0; turn < turns; turn += 1)
          await new Promise((resolve) => void setImmediate(resolve));
      }
      for (const { socket } of clients) socket.destroy();
      // Where much waits to be sent behind an answer that does not come, Node does not read, and sees nobody leave.
      await until(() => [...sockets].every((socket) => socket.isPaused()));
      app.server.closeAllConnections();
      await until(() => sockets.size === 0);
      expect(await server.total("http_requests_in_flight")).toBe(0);
      expect(await server.total("http_active_connections")).toBe(0);
      for (const name of [
        "http_requests_total",
        "http_request_duration_seconds_count",
        "http_request_size_bytes_count",
        "http_response_size_bytes_count",
      ])
        expect([name, await server.total(name)]).toEqual([name, seen]);
      expect(await server.total("http_request_size_bytes_sum")).toBeLessThanOrEqual(sent);
      const accesses = server.accesses();
      expect(accesses).toHaveLength(seen);
      expect(new Set(accesses.map(({ requestId }) => requestId)).size).toBe(seen);
    }),
    { numRuns: 200 },
  );
}, 60_000);

test.each([
  ["one after the other", 1],
  ["in batches that do not wait", 100],
])("a connection gathers nothing, however many requests come on it, %s", async (_name, batch) => {
  const sockets: Socket[] = [];
  const { app } = server;
  app.server.on("connection", (socket) => sockets.push(socket));
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  const one = await server.client();
  const listeners = (): number =>
    sockets
      .flatMap((socket) => socket.eventNames().map((name) => socket.listenerCount(name)))
      .reduce((a, b) => a + b);
  const exchange = async (): Promise<void> => {
    one.received = "";
    one.send(get("/small/1").repeat(batch));
    while (one.received.split('{"ok":true}').length <= batch) await once(one.socket, "data");
  };
  await exchange();
  await server.counted(batch);
  const atFirst = listeners();
  for (let count = batch; count < 10_000; count += batch) await exchange();
  await server.counted(10_000);
  expect(listeners()).toBe(atFirst);
  expect(connectionOf(sockets[0] as Socket)).toMatchObject({ oldest: undefined, latest: undefined });
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
  expect(await server.total("http_requests_in_flight")).toBe(0);
  expect(await server.values("http_request_size_bytes_sum")).toEqual({
    "GET /small/:id": get("/small/1").length * 10_000,
  });
});
