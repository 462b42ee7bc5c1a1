import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { get, type MeasuredServer, startMeasuredServer } from "../../../../tests/api/measured-server.ts";
import { until } from "../../../../tests/postgres/until.ts";

let server: MeasuredServer;
beforeEach(async () => {
  server = await startMeasuredServer();
});
afterEach(() => server[Symbol.asyncDispose]());

describe("sizes", () => {
  test("are the bytes on the wire, of one request after the other on a connection", async () => {
    const one = await server.client();
    const request = get("/small/1?q=ä%20".replace("ä", "%C3%A4"), "User-Agent: t\r\nX-Latin: \xe9\r\n");
    for (let count = 1; count <= 3; count += 1) {
      one.send(request);
      await until(() => one.received.split('{"ok":true}').length === count + 1);
    }
    await server.counted(3);
    expect(await server.values("http_request_size_bytes_sum")).toEqual({
      "GET /small/:id": request.length * 3,
    });
    expect(await server.values("http_response_size_bytes_sum")).toEqual({
      "GET /small/:id": one.received.length,
    });
    expect(await server.values("http_requests_total")).toEqual({ "GET /small/:id 200": 3 });
  });

  test("are told apart when requests come without waiting for answers", async () => {
    const one = await server.client();
    const requests = [get("/chunked"), get("/small/1"), get("/nowhere"), get("/empty"), get("/unchanged")];
    one.send(requests.join(""));
    await one.until(/304 Not Modified.*\r\n\r\n$/s);
    await server.counted(5);
    const [chunked, small, nowhere, empty, unchanged] = requests.map((request) => request.length);
    expect(await server.values("http_request_size_bytes_sum")).toEqual({
      "GET /chunked": chunked,
      "GET /small/:id": small,
      "GET unmatched": nowhere,
      "GET /empty": empty,
      "GET /unchanged": unchanged,
    });
    const answers = one.received.split(/(?=HTTP\/1\.1 )/).map((answer) => answer.length);
    expect(answers).toHaveLength(5);
    expect(Object.values(await server.values("http_response_size_bytes_sum"))).toEqual(answers);
    expect(await server.total("http_response_size_bytes_sum")).toBe(one.received.length);
  });

  test("of bodies in chunks have their framing, and an answer to HEAD has no body", async () => {
    const one = await server.client();
    const chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n";
    one.send(chunked);
    await one.until(/hello!$/);
    await server.counted(1);
    const before = one.received.length;
    const head = "HEAD /small/1 HTTP/1.1\r\nHost: x\r\n\r\n";
    one.send(head);
    await one.until(/content-length: 11.*\r\n\r\n$/s);
    await server.counted(2);
    expect(await server.values("http_request_size_bytes_sum")).toEqual({
      "POST /echo": chunked.length,
      "HEAD /small/:id": head.length,
    });
    expect(await server.values("http_response_size_bytes_sum")).toEqual({
      "POST /echo": before,
      "HEAD /small/:id": one.received.length - before,
    });
  });

  test("of a body in chunks are exact although the next request came with it", async () => {
    const one = await server.client();
    const chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n0\r\n\r\n";
    const next = get("/small/1");
    one.send(chunked + next + next);
    await until(() => one.received.split('{"ok":true}').length === 3);
    await server.counted(3);
    expect(await server.values("http_request_size_bytes_sum")).toEqual({
      "POST /echo": chunked.length,
      "GET /small/:id": next.length * 2,
    });
  });

  test("of requests whose writing is unusual are what came, and the next one's are its own", async () => {
    const one = await server.client();
    const requests = [
      "GET /small/1 HTTP/1.1\r\nHost:x\r\nA:b\r\nC:d\r\n\r\n",
      "GET /small/1 HTTP/1.1\r\nHost:   x\r\nA: \t b \r\n\r\n",
    ];
    const chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n0\r\n\r\n";
    for (const [index, request] of [...requests, chunked].entries()) {
      one.send(request);
      await server.counted(index + 1);
    }
    expect(await server.values("http_request_size_bytes_sum")).toEqual({
      "GET /small/:id": requests.join("").length,
      "POST /echo": chunked.length,
    });
  });

  test("of an upload have what came after its refusal", async () => {
    const one = await server.client();
    const head =
      "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 300000\r\n\r\n";
    one.send(head);
    await one.until(/no$/);
    await server.counted(1);
    expect(await server.total("http_requests_in_flight")).toBe(0);
    expect(await server.values("http_request_size_bytes_count")).toEqual({ "POST /refused": 0 });
    one.send("x".repeat(300_000));
    await until(async () => (await server.total("http_request_size_bytes_count")) === 1);
    one.send(get("/small/1"));
    await one.until(/true\}$/);
    await server.counted(2);
    expect(await server.values("http_request_size_bytes_sum")).toEqual({
      "POST /refused": head.length + 300_000,
      "GET /small/:id": get("/small/1").length,
    });
    expect(await server.total("http_response_size_bytes_sum")).toBe(one.received.length);
  });

  test("of an upload that breaks off are what came", async () => {
    const one = await server.client();
    const sent =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 300000\r\n\r\nabc";
    one.send(sent);
    await until(async () => (await server.total("http_requests_in_flight")) === 1);
    one.socket.resetAndDestroy();
    await server.counted(1);
    expect(await server.values("http_requests_total")).toEqual({ "POST /echo 499": 1 });
    expect(await server.values("http_request_size_bytes_sum")).toEqual({ "POST /echo": sent.length });
    expect(await server.values("http_response_size_bytes_sum")).toEqual({ "POST /echo": 0 });
  });

  test.each([
    ["resets the connection", (socket: Socket) => socket.resetAndDestroy()],
    [
      "reads no more and goes",
      (socket: Socket) => {
        socket.pause();
        socket.destroy();
      },
    ],
    [
      "sends its end first",
      (socket: Socket) => {
        socket.end().once("data", () => socket.destroy());
      },
    ],
  ])(
    "of an answer that is broken off are what the system was given, when the client %s",
    async (_name, leave) => {
      const one = await server.client();
      one.send(get("/many"));
      await until(() => one.received.length > 1_000_000);
      const before = one.received.length;
      leave(one.socket);
      await server.counted(1);
      expect(await server.values("http_requests_total")).toEqual({ "GET /many 499": 1 });
      const bytes = await server.total("http_response_size_bytes_sum");
      // What lies in the buffers of the system was sent, as far as this program knows.
      expect(bytes).toBeGreaterThanOrEqual(before);
      expect(bytes).toBeLessThan(before + 16 * 1024 * 1024);
    },
  );
});
