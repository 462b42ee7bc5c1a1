import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { noInstruments } from "@ectus/monitoring";
import { type FastifyInstance, fastify } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { get, type MeasuredServer, startMeasuredServer } from "../../../../tests/api/measured-server.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { addHttpMetrics } from "./metrics.ts";

let server: MeasuredServer;
beforeEach(async () => {
  server = await startMeasuredServer();
});
afterEach(() => server[Symbol.asyncDispose]());

describe("labels", () => {
  test("are the pattern of the route, and the method if it is a standard one", async () => {
    const one = await server.client();
    const requests: [string, string][] = [
      ["GET /small/1", "GET /small/:id 200"],
      ["GET /small/2/", "GET /small/:id 200"],
      ["GET /small/3?x=1", "GET /small/:id 200"],
      ["PUT /several", "PUT /several 200"],
      ["DELETE /several", "DELETE /several 200"],
      ["OPTIONS /several", "OPTIONS unmatched 404"],
      ["TRACE /several", "TRACE unmatched 404"],
      ["PROPFIND /several", "other unmatched 404"],
      ["PATCH /several", "PATCH unmatched 404"],
      ["OPTIONS *", "OPTIONS unmatched 404"],
      ["GET /../etc", "GET unmatched 404"],
      ["GET /%zz", "GET unmatched 400"],
      ["GET http://[", "GET unmatched 400"],
      ["GET /broken", "GET /broken 500"],
    ];
    const expected: Record<string, number> = {};
    for (const [index, [line, labels]] of requests.entries()) {
      one.send(`${line} HTTP/1.1\r\nHost: x\r\n\r\n`);
      expected[labels] = (expected[labels] ?? 0) + 1;
      await server.counted(index + 1);
    }
    expect(await server.values("http_requests_total")).toEqual(expected);
    expect(await server.values("http_request_duration_seconds_count")).toEqual(expected);
    expect(await server.values("http_request_errors_total")).toEqual({ "GET /broken 500": 1 });
    expect(await server.total("http_response_size_bytes_sum")).toBe(one.received.length);
  });

  test("count an expectation that the server refuses by itself", async () => {
    const one = await server.client();
    one.send(get("/small/1", "Expect: a-miracle\r\n"));
    await one.until(/^HTTP\/1\.1 417/);
    await server.counted(1);
    const [, id] = /^x-request-id: (.*)\r$/im.exec(one.received) ?? [];
    expect(server.accesses()).toMatchObject([
      { method: "GET", path: "unmatched", status: 417, requestId: id },
    ]);
    expect(await server.values("http_requests_total")).toEqual({ "GET unmatched 417": 1 });
  });

  test("count the interim answer to an expectation with the answer", async () => {
    const one = await server.client();
    const head =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    one.send(head);
    await one.until(/100 Continue/);
    one.send("hi");
    await one.until(/hi$/);
    await server.counted(1);
    expect(await server.values("http_response_size_bytes_sum")).toEqual({
      "POST /echo": one.received.length,
    });
    expect(await server.values("http_request_size_bytes_sum")).toEqual({ "POST /echo": head.length + 2 });
  });
});

describe("gauges", () => {
  test("are right after answers wait, are broken off, and were pipelined behind one", async () => {
    const [one, two] = [await server.client(), await server.client()];
    one.send(get("/hang") + get("/small/1") + get("/hang"));
    two.send(get("/hang"));
    await until(async () => (await server.total("http_requests_in_flight")) === 4);
    expect(await server.total("http_active_connections")).toBe(2);
    one.socket.destroy();
    await until(async () => (await server.total("http_active_connections")) === 1);
    expect(await server.total("http_requests_in_flight")).toBe(1);
    two.socket.resetAndDestroy();
    await until(async () => (await server.total("http_active_connections")) === 0);
    expect(await server.total("http_requests_in_flight")).toBe(0);
    expect(await server.values("http_requests_total")).toEqual({
      "GET /hang 499": 3,
      "GET /small/:id 499": 1,
    });
    expect(await server.values("http_request_errors_total")).toEqual({});
    expect(await server.values("http_response_size_bytes_sum")).toEqual({
      "GET /hang": 0,
      "GET /small/:id": 0,
    });
  });

  test("leave no error that waited behind another answer and was never sent", async () => {
    const one = await server.client();
    one.send(get("/hang") + get("/broken") + get("/nowhere"));
    await until(async () => (await server.total("http_requests_in_flight")) === 3);
    one.socket.resetAndDestroy();
    await server.counted(3);
    expect(await server.values("http_requests_total")).toEqual({
      "GET /hang 499": 1,
      "GET /broken 499": 1,
      "GET unmatched 499": 1,
    });
    expect(await server.values("http_request_errors_total")).toEqual({});
  });

  test("count a connection that was upgraded until it is closed, and one that never sent anything", async () => {
    server.app.server.on("upgrade", (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
      socket.pipe(socket);
    });
    const [upgraded, silent] = [await server.client(), await server.client()];
    upgraded.send(get("/small/1", "Connection: Upgrade\r\nUpgrade: echo\r\n"));
    await upgraded.until(/101 .*\r\n\r\n/s);
    upgraded.send("ping");
    await upgraded.until(/ping$/);
    expect(await server.total("http_active_connections")).toBe(2);
    expect(await server.total("http_requests_in_flight")).toBe(0);
    upgraded.socket.destroy();
    silent.socket.destroy();
    await until(async () => (await server.total("http_active_connections")) === 0);
  });

  test("take a wish for another protocol for an ordinary request where there is none", async () => {
    const one = await server.client();
    one.send(get("/small/1", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    await one.until(/true\}$/);
    await server.counted(1);
    expect(await server.values("http_requests_total")).toEqual({ "GET /small/:id 200": 1 });
  });

  test("are right after a tunnel was asked for and refused", async () => {
    const one = await server.client();
    one.send("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(one.socket, "close");
    await until(async () => (await server.total("http_active_connections")) === 0);
    expect(await server.total("http_requests_in_flight")).toBe(0);
  });

  test("count the requests of each address of a server that listens on several", async () => {
    await using several = await startMeasuredServer({ host: "localhost" });
    let count = 0;
    for (const { address } of several.app.addresses() as AddressInfo[]) {
      const one = await several.client(address);
      one.send(get("/small/1"));
      await one.until(/true\}$/);
      count += 1;
      await several.counted(count);
      expect(await several.total("http_active_connections")).toBe(count);
    }
    expect(await several.values("http_requests_total")).toEqual({ "GET /small/:id 200": count });
  });
});

test("nothing is installed without instruments", async () => {
  const app = fastify() as unknown as FastifyInstance;
  const before = app.server.eventNames().map((name) => [name, app.server.listenerCount(name)]);
  addHttpMetrics(app, noInstruments);
  expect(app.server.eventNames().map((name) => [name, app.server.listenerCount(name)])).toEqual(before);
});
