import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createLogging } from "@ectus/core";
import { createInstruments, Registry } from "@ectus/monitoring";
import { type FastifyInstance, fastify } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { createMalformedRequestHandler } from "./malformed-requests.ts";
import { addHttpMetrics } from "./metrics.ts";

let app: FastifyInstance;
let registry: Registry;

beforeEach(async () => {
  const logging = createLogging({
    levels: { default: "fatal", modules: {} },
    format: "json",
    destination: { write() {} },
  });
  registry = new Registry();
  const malformed = createMalformedRequestHandler(logging.module("test"));
  app = fastify({
    clientErrorHandler: malformed.handle,
    requestTimeout: 200,
    http: { headersTimeout: 100, connectionsCheckingInterval: 20 },
  }) as unknown as FastifyInstance;
  malformed.watch(app.server, addHttpMetrics(app, createInstruments(registry)));
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

const head = (path: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;

test("a head that does not come in time is answered and counted as no route's", async () => {
  const received = await talk("GET / HTTP/1.1\r\nHo");
  expect(received).toMatch(/^HTTP\/1\.1 408 .*"request_timeout"/s);
  expect(await requests()).toEqual(["other unmatched 408 1"]);
});

test("a body that does not come in time is answered and counted as its request", async () => {
  const received = await talk(`${head("/read")}1\r\n{\r\n`);
  expect(received).toMatch(/^HTTP\/1\.1 408 .*"request_timeout"/s);
  expect(await requests()).toEqual(["POST /read 408 1"]);
});

test("a faulty body whose request was refused before gets no second answer", async () => {
  const received = await talk(head("/refused"), [/no$/, "zz\r\n"]);
  expect(received).toMatch(/^HTTP\/1\.1 401 /);
  expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
  expect(await requests()).toEqual(["POST /refused 401 1"]);
});

test("what comes behind a request that waits is answered in its place, and the bytes are its own", async () => {
  const waiting = "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n";
  const received = await talk(`${waiting}garbage\r\n\r\n`);
  expect(received).toMatch(/^HTTP\/1\.1 400 /);
  await until(async () => (await requests()).length === 2);
  expect((await requests()).sort()).toEqual(["GET /hang 499 1", "other unmatched 400 1"]);
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
  await until(async () => /^http_active_connections 0$/m.test(await registry.metrics()));
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
