import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createLogging, type Logging } from "@ectus/core";
import { createInstruments, noTracing, Registry } from "@ectus/monitoring";
import fc from "fast-check";
import { type FastifyInstance, fastify } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { createMalformedRequestHandler } from "./malformed-requests.ts";
import { addObservability } from "./observability.ts";
import { noteError } from "./request-outcome.ts";

let app: FastifyInstance;
let registry: Registry;
let logging: Logging;
let lines: string[];
/** When the route "/late" fails. */
let fault: Promise<void>;
let fail: () => void;

beforeEach(async () => {
  lines = [];
  ({ promise: fault, resolve: fail } = Promise.withResolvers<void>());
  logging = createLogging({
    levels: { default: "info", modules: {} },
    format: "json",
    destination: { write: (line) => void lines.push(line) },
  });
  registry = new Registry();
  const malformed = createMalformedRequestHandler(logging.module("test"));
  app = fastify({
    clientErrorHandler: malformed.handle,
    frameworkErrors: ({ statusCode = 500 }, request, reply) => {
      request.server.observeUnrouted(request, reply);
      reply.raw.writeHead(statusCode, { "x-request-id": request.id }).end();
    },
    requestTimeout: 200,
    http: { headersTimeout: 100, connectionsCheckingInterval: 20 },
  }) as unknown as FastifyInstance;
  const { refused } = addObservability(app, {
    logging,
    instruments: createInstruments(registry),
    tracing: noTracing,
    traceTrustedPeers: [],
    slowRequestMs: 60_000,
    slowInferenceMs: 60_000,
    logSample: new Map(),
  });
  malformed.watch(app.server, refused);
  app.get("/hang", () => new Promise(() => {}));
  app.get("/begun", (_request, reply) => {
    reply.hijack();
    reply.raw.write("begun");
  });
  app.post("/read", async (request) => request.body);
  app.post(
    "/refused",
    { onRequest: async (_request, reply) => reply.status(401).send("no") },
    async () => "",
  );
  app.post(
    "/late",
    {
      onRequest: async (_request, reply) => {
        await fault;
        noteError(reply.raw, { code: "storage_error", status: 500 });
        throw new Error("late");
      },
    },
    async () => "",
  );
  await app.listen({ host: "127.0.0.1", port: 0 });
});
afterEach(() => app.close());

/** Sends parts, each when what was received matches, and gives all that was received when the connection closes. */
async function talk(first: string, ...then: readonly (readonly [RegExp, string])[]): Promise<string> {
  const socket: Socket = connect((app.server.address() as AddressInfo).port, "127.0.0.1");
  const rest = [...then];
  let received = "";
  socket.setEncoding("latin1").on("data", (text) => {
    received += text;
    if (rest[0]?.[0].test(received)) socket.write(rest.shift()?.[1] as string);
  });
  socket.write(first);
  await once(socket, "close");
  return received;
}

/** What was counted; the server may notice the end of a connection a little after its client. */
async function requests(): Promise<string[]> {
  await until(async () => /^http_requests_total\{/m.test(await registry.metrics()));
  const text = await registry.metrics();
  return [...text.matchAll(/^http_requests_total\{method="(.*)",path="(.*)",status="(.*)"\} (\d+)$/gm)].map(
    ([, ...labels]) => labels.join(" "),
  );
}

/** All lines of the log so far, which are as many as there were requests: method, path, status and code. */
async function logged(count: number): Promise<string[]> {
  await until(() => lines.length >= count);
  return lines.map((line) => {
    const { msg, method, path, status, code } = JSON.parse(line);
    expect(msg).toBe("request");
    return `${method} ${path} ${status} ${code}`;
  });
}

const head = (path: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;

test("a head that does not come in time is answered and counted as no route's", async () => {
  const received = await talk("GET / HTTP/1.1\r\nHo");
  expect(received).toMatch(/^HTTP\/1\.1 408 .*"request_timeout"/s);
  expect(await requests()).toEqual(["other unmatched 408 1"]);
  expect(await logged(1)).toEqual(["other unmatched 408 request_timeout"]);
  const { requestId, correlationId, durationMs } = JSON.parse(lines[0] as string);
  expect(received).toContain(`\r\nx-request-id: ${requestId}\r\n`);
  expect([correlationId, durationMs]).toEqual([requestId, 0]);
});

test("a body that does not come in time is answered, counted and logged as its request, with its ids", async () => {
  const received = await talk(`${head("/read").trimEnd()}\r\nX-Correlation-Id: c-1\r\n\r\n1\r\n{\r\n`);
  expect(received).toMatch(/^HTTP\/1\.1 408 .*"request_timeout"/s);
  expect(await requests()).toEqual(["POST /read 408 1"]);
  expect(await logged(1)).toEqual(["POST /read 408 request_timeout"]);
  const { requestId, correlationId } = JSON.parse(lines[0] as string);
  expect(received).toContain(`\r\nx-request-id: ${requestId}\r\nx-correlation-id: c-1\r\n`);
  expect(correlationId).toBe("c-1");
});

test("a faulty body whose request was refused before gets no second answer", async () => {
  const received = await talk(head("/refused"), [/no$/, "zz\r\n"]);
  expect(received).toMatch(/^HTTP\/1\.1 401 /);
  expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
  expect(await requests()).toEqual(["POST /refused 401 1"]);
  expect(await logged(1)).toEqual(["POST /refused 401 undefined"]);
});

test("what comes behind a request that waits is answered in its place, and the bytes are its own", async () => {
  const waiting = "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n";
  const received = await talk(`${waiting}garbage\r\n\r\n`);
  expect(received).toMatch(/^HTTP\/1\.1 400 /);
  await until(async () => (await requests()).length === 2);
  expect((await requests()).sort()).toEqual(["GET /hang 499 1", "other unmatched 400 1"]);
  expect((await logged(2)).sort()).toEqual([
    "GET /hang 499 client_closed_request",
    "other unmatched 400 malformed_request",
  ]);
  const text = await registry.metrics();
  const bytes = (name: string): number[] =>
    [...text.matchAll(new RegExp(`^http_${name}_size_bytes_sum.*} (\\d+)$`, "gm"))].map(([, sum]) =>
      Number(sum),
    );
  expect(bytes("response").sort()).toEqual([0, received.length].sort());
  expect(bytes("request").sort()).toEqual([waiting.length, "garbage\r\n\r\n".length].sort());
});

test.each([
  ["", ""],
  [" with a body", "Content-Length: 5\r\n"],
  [" with a body in chunks", "Transfer-Encoding: chunked\r\n"],
])("a tunnel that is asked for%s is refused in the shape of all errors", async (_name, header) => {
  const received = await talk(`CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n${header}\r\n`);
  expect(received).toMatch(/^HTTP\/1\.1 404 Not Found\r\n.*"code":"unknown_url"/s);
  expect(await requests()).toEqual(["CONNECT unmatched 404 1"]);
  expect(await logged(1)).toEqual(["CONNECT unmatched 404 unknown_url"]);
  await until(async () => /^http_active_connections 0$/m.test(await registry.metrics()));
});

test("clients that do not close their connections keep none here, whatever they sent", async () => {
  const tunnel = "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n";
  const texts: readonly (readonly [first: string, onceAnswered?: string])[] = [
    [""],
    ["garbage\r\n\r\n"],
    ["garbage\r\n\r\n", "garbage\r\n\r\n"],
    ["GET / HTTP/1.1\r\nHo"],
    [`${head("/read")}1\r\n{\r\n`],
    [`${head("/read")}zz\r\n`],
    [head("/refused"), "zz\r\n"],
    [tunnel],
    [tunnel, "some bytes for the tunnel"],
  ];
  const { port } = app.server.address() as AddressInfo;
  const sockets = await Promise.all(
    texts.map(async ([first, onceAnswered = ""]) => {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => {});
      await once(socket, "connect");
      socket.write(first);
      await once(socket, "data");
      socket.resume().write(onceAnswered);
      return socket;
    }),
  );
  await until(async () => /^http_active_connections 0$/m.test(await registry.metrics()));
  for (const socket of sockets) socket.destroy();
});

test("a client that closes its connection after its tunnel was refused is let go at once", async () => {
  const socket = connect((app.server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  socket.write("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n");
  await once(socket, "data");
  socket.resume().end("some bytes for the tunnel");
  await until(async () => /^http_active_connections 0$/m.test(await registry.metrics()), 1_000);
});

test("what fails after a faulty body was answered changes nothing in what is logged of it", async () => {
  const { port } = app.server.address() as AddressInfo;
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  socket.write(`${head("/late")}zz\r\n`);
  await once(socket, "data");
  fail();
  await fault;
  socket.destroy();
  expect(await logged(1)).toEqual(["POST /late 400 malformed_request"]);
});

test("a tunnel that is asked for behind requests that wait ends them all", async () => {
  let open = 0;
  app.server.on("request", (_request, response) => {
    open += 1;
    response.once("close", () => {
      open -= 1;
    });
  });
  const waiting = "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n";
  const received = await talk(`${waiting.repeat(3)}CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n`);
  expect(received).toMatch(/^HTTP\/1\.1 404 /);
  await until(() => open === 0);
  await until(async () => (await requests()).length === 2);
  expect((await requests()).sort()).toEqual(["CONNECT unmatched 404 1", "GET /hang 499 3"]);
});

test("a tunnel that is asked for within an answer is not refused in the middle of it", async () => {
  const received = await talk("GET /begun HTTP/1.1\r\nHost: x\r\n\r\n", [
    /begun/,
    "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
  ]);
  expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
  expect(await requests()).toEqual(["GET /begun 499 1"]);
});

test.each(["/read", "/begun"])("a client that leaves within its body is one that left: %s", async (path) => {
  const socket = connect((app.server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  socket.resume().write(`${head(path).replace("POST", path === "/read" ? "POST" : "GET")}1\r\n`);
  await until(async () => /^http_requests_in_flight 1$/m.test(await registry.metrics()));
  socket.end();
  const method = path === "/read" ? "POST" : "GET";
  expect(await logged(1)).toEqual([`${method} ${path} 499 client_closed_request`]);
});

test("what comes within an answer is not answered, and the line of that answer says why it was cut", async () => {
  const received = await talk("GET /begun HTTP/1.1\r\nHost: x\r\n\r\n", [/begun/, "garbage\r\n\r\n"]);
  expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
  expect(await logged(1)).toEqual(["GET /begun 499 malformed_request"]);
});

test("what the parser objects to is told at the level of debugging", async () => {
  logging.setLevels({ default: "debug", modules: {} });
  lines.length = 0;
  await talk("garbage\r\n\r\n");
  await until(() => lines.length === 2);
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { level: "debug", msg: "malformed request", code: "HPE_INVALID_METHOD" },
    { level: "info", msg: "request", code: "malformed_request" },
  ]);
});

test("whatever comes on a connection, each answer has its line, with its id and its status", async () => {
  const whole = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
  const piece = fc.constantFrom(
    whole("/nowhere"),
    whole("/%zz"),
    whole("/nowhere", "Expect: a-miracle\r\n"),
    head("/read"),
    head("/refused"),
    "2\r\n{}\r\n0\r\n\r\n",
    "zz\r\n",
    "garbage\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(piece, fc.nat(3)), { minLength: 1, maxLength: 8 }), async (pieces) => {
      lines.length = 0;
      const socket = connect((app.server.address() as AddressInfo).port, "127.0.0.1");
      let received = "";
      socket.setEncoding("latin1").on("data", (text) => {
        received += text;
      });
      socket.on("error", () => {});
      await once(socket, "connect");
      for (const [text, turns] of pieces) {
        if (socket.writable) socket.write(text);
        for (let turn = 0; turn < turns; turn += 1)
          await new Promise((resolve) => void setImmediate(resolve));
      }
      if (!socket.closed) {
        socket.end();
        await new Promise((resolve) => void socket.once("close", resolve));
      }
      await until(async () => /^http_active_connections 0$/m.test(await registry.metrics()));
      const statuses = new Map(lines.map((line) => [JSON.parse(line).requestId, JSON.parse(line).status]));
      expect(statuses.size).toBe(lines.length);
      for (const [, status, id] of received.matchAll(/HTTP\/1\.1 (\d+) .*?x-request-id: (\S+)/gs)) {
        // A client that sends its end within a body counts as one that left, whatever it is told.
        const counted = statuses.get(id) === 499 ? 400 : statuses.get(id);
        expect([id, counted]).toEqual([id, Number(status)]);
      }
      expect(received.match(/HTTP\/1\.1 \d/g)?.length ?? 0).toBeLessThanOrEqual(lines.length);
    }),
    { numRuns: 300 },
  );
}, 60_000);
