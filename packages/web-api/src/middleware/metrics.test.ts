import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createInstruments, noInstruments, Registry } from "@ectus/monitoring";
import { type FastifyInstance, type FastifyServerOptions, fastify } from "fastify";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { addHttpMetrics } from "./metrics.ts";

const running: FastifyInstance[] = [];
let registry: Registry;
let port: number;

async function start(
  options: FastifyServerOptions = {},
  more: (app: FastifyInstance) => void = () => {},
  host = "127.0.0.1",
): Promise<FastifyInstance> {
  registry = new Registry();
  const app = fastify({
    ...options,
    routerOptions: { ignoreTrailingSlash: true },
  }) as unknown as FastifyInstance;
  running.push(app);
  addHttpMetrics(app, createInstruments(registry));
  app.addContentTypeParser("text/plain", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.get("/small/:id", async () => ({ ok: true }));
  app.post("/echo", async (request) => request.body);
  app.get("/chunked", (_request, reply) => {
    reply.hijack();
    reply.raw.write("a");
    setTimeout(() => reply.raw.end("b".repeat(70_000)), 10);
  });
  app.get("/empty", async (_request, reply) => reply.status(204).send());
  app.get("/unchanged", async (_request, reply) => reply.status(304).send());
  app.get("/broken", async () => Promise.reject(new Error("broken")));
  app.get("/hang", () => new Promise(() => {}));
  app.get("/large", async () => Buffer.alloc(64 * 1024 * 1024));
  app.post(
    "/refused",
    { onRequest: async (_request, reply) => reply.status(401).send("no") },
    async () => "",
  );
  app.route({ method: ["PUT", "DELETE"], url: "/several", handler: async () => "x" });
  more(app);
  await app.listen({ host, port: 0 });
  port = (app.server.address() as { port: number }).port;
  return app;
}

beforeEach(() => start());
afterEach(async () => {
  for (const app of running.splice(0)) {
    app.server.closeAllConnections();
    await app.close();
  }
});

interface Client {
  readonly socket: Socket;
  received: string;
  send(text: string): void;
  until(pattern: RegExp): Promise<void>;
}

async function client(host = "127.0.0.1"): Promise<Client> {
  const socket = connect(port, host);
  socket.setEncoding("latin1").on("error", () => {});
  await once(socket, "connect");
  const made: Client = {
    socket,
    received: "",
    send: (text) => void socket.write(text, "latin1"),
    until: (pattern) => until(() => pattern.test(made.received)),
  };
  socket.on("data", (text) => {
    made.received += text;
  });
  return made;
}

/** The values of a metric by its labels, as they stand in a scrape. */
async function values(name: string): Promise<Record<string, number>> {
  const text = await registry.metrics();
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return Object.fromEntries(
    lines.map((line) => {
      const [, labels = "", value] = /^[^{ ]+(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
      return [labels.replaceAll(/(\w+)="([^"]*)"/g, "$2").replaceAll(",", " "), Number(value)];
    }),
  );
}

const total = (of: Record<string, number>): number =>
  Object.values(of).reduce((sum, value) => sum + value, 0);
const gauge = async (name: string): Promise<number> => total(await values(name));
const counted = (count: number): Promise<void> =>
  until(async () => total(await values("http_requests_total")) === count);

const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;

describe("sizes", () => {
  test("are the bytes on the wire, of one request after the other on a connection", async () => {
    const one = await client();
    const request = get("/small/1?q=ä%20".replace("ä", "%C3%A4"), "User-Agent: t\r\nX-Latin: \xe9\r\n");
    for (let count = 1; count <= 3; count += 1) {
      one.send(request);
      await until(() => one.received.split('{"ok":true}').length === count + 1);
    }
    await counted(3);
    expect(await values("http_request_size_bytes_sum")).toEqual({ "GET /small/:id": request.length * 3 });
    expect(await values("http_response_size_bytes_sum")).toEqual({ "GET /small/:id": one.received.length });
    expect(await values("http_requests_total")).toEqual({ "GET /small/:id 200": 3 });
  });

  test("are told apart when requests come without waiting for answers", async () => {
    const one = await client();
    const requests = [get("/chunked"), get("/small/1"), get("/nowhere"), get("/empty"), get("/unchanged")];
    one.send(requests.join(""));
    await one.until(/304 Not Modified.*\r\n\r\n$/s);
    await counted(5);
    const [chunked, small, nowhere, empty, unchanged] = requests.map((request) => request.length);
    expect(await values("http_request_size_bytes_sum")).toEqual({
      "GET /chunked": chunked,
      "GET /small/:id": small,
      "GET unmatched": nowhere,
      "GET /empty": empty,
      "GET /unchanged": unchanged,
    });
    const answers = one.received.split(/(?=HTTP\/1\.1 )/).map((answer) => answer.length);
    expect(answers).toHaveLength(5);
    expect(Object.values(await values("http_response_size_bytes_sum"))).toEqual(answers);
    expect(total(await values("http_response_size_bytes_sum"))).toBe(one.received.length);
  });

  test("of bodies in chunks have their framing, and an answer to HEAD has no body", async () => {
    const one = await client();
    const chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n";
    one.send(chunked);
    await one.until(/hello!$/);
    await counted(1);
    const before = one.received.length;
    const head = "HEAD /small/1 HTTP/1.1\r\nHost: x\r\n\r\n";
    one.send(head);
    await one.until(/content-length: 11.*\r\n\r\n$/s);
    await counted(2);
    expect(await values("http_request_size_bytes_sum")).toEqual({
      "POST /echo": chunked.length,
      "HEAD /small/:id": head.length,
    });
    expect(await values("http_response_size_bytes_sum")).toEqual({
      "POST /echo": before,
      "HEAD /small/:id": one.received.length - before,
    });
  });

  test("of a body in chunks are exact although the next request came with it", async () => {
    const one = await client();
    const chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nA\r\n0\r\n\r\n";
    const next = get("/small/1");
    one.send(chunked + next + next);
    await until(() => one.received.split('{"ok":true}').length === 3);
    await counted(3);
    expect(await values("http_request_size_bytes_sum")).toEqual({
      "POST /echo": chunked.length,
      "GET /small/:id": next.length * 2,
    });
  });

  test("of a request whose writing is unusual are no more than came", async () => {
    const one = await client();
    const request = "GET /small/1 HTTP/1.1\r\nHost:x\r\nA:b\r\nC:d\r\n\r\n";
    one.send(request);
    await one.until(/true\}$/);
    await counted(1);
    expect(await values("http_request_size_bytes_sum")).toEqual({ "GET /small/:id": request.length });
  });

  test("of an upload have what came after its refusal", async () => {
    const one = await client();
    const head =
      "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 300000\r\n\r\n";
    one.send(head);
    await one.until(/no$/);
    await counted(1);
    expect(await gauge("http_requests_in_flight")).toBe(0);
    expect(await values("http_request_size_bytes_count")).toEqual({ "POST /refused": 0 });
    one.send("x".repeat(300_000));
    await until(async () => (await gauge("http_request_size_bytes_count")) === 1);
    one.send(get("/small/1"));
    await one.until(/true\}$/);
    await counted(2);
    expect(await values("http_request_size_bytes_sum")).toEqual({
      "POST /refused": head.length + 300_000,
      "GET /small/:id": get("/small/1").length,
    });
    expect(total(await values("http_response_size_bytes_sum"))).toBe(one.received.length);
  });

  test("of an upload that breaks off are what came", async () => {
    const one = await client();
    const sent =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 300000\r\n\r\nabc";
    one.send(sent);
    await until(async () => (await gauge("http_requests_in_flight")) === 1);
    one.socket.resetAndDestroy();
    await counted(1);
    expect(await values("http_requests_total")).toEqual({ "POST /echo 499": 1 });
    expect(await values("http_request_size_bytes_sum")).toEqual({ "POST /echo": sent.length });
    expect(await values("http_response_size_bytes_sum")).toEqual({ "POST /echo": 0 });
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
  ])("of an answer that is broken off are what the system took, when the client %s", async (_name, leave) => {
    const one = await client();
    one.send(get("/large"));
    await until(() => one.received.length > 1_000_000);
    const before = one.received.length;
    leave(one.socket);
    await counted(1);
    expect(await values("http_requests_total")).toEqual({ "GET /large 499": 1 });
    const bytes = await gauge("http_response_size_bytes_sum");
    // What lies in the buffers of the system was sent, as far as this program knows.
    expect(bytes).toBeGreaterThanOrEqual(before);
    expect(bytes).toBeLessThan(before + 16 * 1024 * 1024);
  });
});

describe("labels", () => {
  test("are the pattern of the route, and the method if it is a standard one", async () => {
    const one = await client();
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
      await counted(index + 1);
    }
    expect(await values("http_requests_total")).toEqual(expected);
    expect(await values("http_request_duration_seconds_count")).toEqual(expected);
    expect(await values("http_request_errors_total")).toEqual({ "GET /broken 500": 1 });
    expect(total(await values("http_response_size_bytes_sum"))).toBe(one.received.length);
  });

  test("count an expectation that the server refuses by itself", async () => {
    const one = await client();
    one.send(get("/small/1", "Expect: a-miracle\r\n"));
    await one.until(/^HTTP\/1\.1 417/);
    await counted(1);
    expect(await values("http_requests_total")).toEqual({ "GET unmatched 417": 1 });
  });

  test("count the interim answer to an expectation with the answer", async () => {
    const one = await client();
    const head =
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    one.send(head);
    await one.until(/100 Continue/);
    one.send("hi");
    await one.until(/hi$/);
    await counted(1);
    expect(await values("http_response_size_bytes_sum")).toEqual({ "POST /echo": one.received.length });
    expect(await values("http_request_size_bytes_sum")).toEqual({ "POST /echo": head.length + 2 });
  });
});

describe("gauges", () => {
  test("are right after answers wait, are broken off, and were pipelined behind one", async () => {
    const [one, two] = [await client(), await client()];
    one.send(get("/hang") + get("/small/1") + get("/hang"));
    two.send(get("/hang"));
    await until(async () => (await gauge("http_requests_in_flight")) === 4);
    expect(await gauge("http_active_connections")).toBe(2);
    one.socket.destroy();
    await until(async () => (await gauge("http_active_connections")) === 1);
    expect(await gauge("http_requests_in_flight")).toBe(1);
    two.socket.resetAndDestroy();
    await until(async () => (await gauge("http_active_connections")) === 0);
    expect(await gauge("http_requests_in_flight")).toBe(0);
    expect(await values("http_requests_total")).toEqual({ "GET /hang 499": 3, "GET /small/:id 499": 1 });
    expect(await values("http_request_errors_total")).toEqual({});
    expect(await values("http_response_size_bytes_sum")).toEqual({ "GET /hang": 0, "GET /small/:id": 0 });
  });

  test("leave no error that waited behind another answer and was never sent", async () => {
    const one = await client();
    one.send(get("/hang") + get("/broken") + get("/nowhere"));
    await until(async () => (await gauge("http_requests_in_flight")) === 3);
    one.socket.resetAndDestroy();
    await counted(3);
    expect(await values("http_requests_total")).toEqual({
      "GET /hang 499": 1,
      "GET /broken 499": 1,
      "GET unmatched 499": 1,
    });
    expect(await values("http_request_errors_total")).toEqual({});
  });

  test("count a connection that was upgraded until it is closed, and one that never sent anything", async () => {
    await start({}, (app) => {
      app.server.on("upgrade", (_request, socket) => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        socket.pipe(socket);
      });
    });
    const [upgraded, silent] = [await client(), await client()];
    upgraded.send(get("/small/1", "Connection: Upgrade\r\nUpgrade: echo\r\n"));
    await upgraded.until(/101 .*\r\n\r\n/s);
    upgraded.send("ping");
    await upgraded.until(/ping$/);
    expect(await gauge("http_active_connections")).toBe(2);
    expect(await gauge("http_requests_in_flight")).toBe(0);
    upgraded.socket.destroy();
    silent.socket.destroy();
    await until(async () => (await gauge("http_active_connections")) === 0);
  });

  test("take a wish for another protocol for an ordinary request where there is none", async () => {
    const one = await client();
    one.send(get("/small/1", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    await one.until(/true\}$/);
    await counted(1);
    expect(await values("http_requests_total")).toEqual({ "GET /small/:id 200": 1 });
  });

  test("are right after a tunnel was asked for and refused", async () => {
    const one = await client();
    one.send("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(one.socket, "close");
    await until(async () => (await gauge("http_active_connections")) === 0);
    expect(await gauge("http_requests_in_flight")).toBe(0);
  });

  test("count the requests of each address of a server that listens on several", async () => {
    const app = await start({}, undefined, "localhost");
    let count = 0;
    for (const { address } of app.addresses() as AddressInfo[]) {
      const one = await client(address);
      one.send(get("/small/1"));
      await one.until(/true\}$/);
      count += 1;
      await counted(count);
      expect(await gauge("http_active_connections")).toBe(count);
    }
    expect(await values("http_requests_total")).toEqual({ "GET /small/:id 200": count });
  });
});

test("nothing is installed without instruments", async () => {
  const app = fastify() as unknown as FastifyInstance;
  running.push(app);
  const before = app.server.eventNames().map((name) => [name, app.server.listenerCount(name)]);
  addHttpMetrics(app, noInstruments).refused({ socket: {} as Socket, status: 400, bytes: 1 });
  expect(app.server.eventNames().map((name) => [name, app.server.listenerCount(name)])).toEqual(before);
});
