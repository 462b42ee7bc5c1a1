// What is sent and how answers are read. How it is tried again: export-loop.test.ts.
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { SpanKind } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { expect, onTestFinished, test } from "vitest";
import { newCertificate } from "../../../../tests/monitoring/certificate.ts";
import { startOtlpReceiver } from "../../../../tests/monitoring/otlp-receiver.ts";
import { createOtlpExporter } from "./otlp-exporter.ts";
import { toReadableSpan } from "./readable-span.ts";
import { Span } from "./span.ts";
import { TraceBuffer } from "./trace-buffer.ts";
import { WaitingSpans } from "./waiting-spans.ts";

async function startReceiver(answer: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listen(createServer(answer), "127.0.0.1")}`;
}

async function listen(server: Server, host: string): Promise<number> {
  server.listen(0, host);
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function startExporter(endpoint: string, headers: Readonly<Record<string, string>> = {}) {
  const exporter = createOtlpExporter({ endpoint, headers });
  onTestFinished(() => exporter.close());
  const sink = { waiting: new WaitingSpans(), export() {}, lost() {}, decided() {} };
  const trace = new TraceBuffer(
    sink,
    { traceId: "a".repeat(32), remoteParentId: undefined, tracestate: undefined, isSampled: true },
    0,
  );
  const span = new Span(trace, undefined, { name: "work", kind: SpanKind.CLIENT, attributes: {} }, 1, 2);
  const part = [toReadableSpan(span, resourceFromAttributes({}), { name: "test" })];
  return (parts = 1) => exporter.send(Array(parts).fill(part), new AbortController().signal);
}

test("a batch is posted to /v1/traces with the headers that the operator gave", async () => {
  const requests: IncomingMessage[] = [];
  const bodies: Buffer[] = [];
  const endpoint = await startReceiver(async (request, response) => {
    requests.push(request);
    bodies.push(await buffer(request));
    response.end();
  });
  const send = startExporter(`${endpoint.replace("//", "//user:word@")}/otlp/`, {
    authorization: "Bearer x",
  });
  expect(await send()).toEqual({ outcome: "taken", rejected: 0 });
  expect(requests[0]).toMatchObject({
    method: "POST",
    url: "/otlp/v1/traces",
    headers: { authorization: "Bearer x", "content-type": "application/x-protobuf" },
  });
  expect(requests[0]?.headers["content-length"]).toBe(String(bodies[0]?.length));
  expect(bodies[0]?.includes("work")).toBe(true);
});

test("the parts of a batch are one request", async () => {
  const receiver = await startOtlpReceiver();
  onTestFinished(() => receiver.close());
  expect(await startExporter(receiver.endpoint)(5)).toEqual({ outcome: "taken", rejected: 0 });
  expect(receiver.spanIds).toHaveLength(5);
  expect(receiver.requestCount).toBe(1);
});

test("an endpoint may have a user and a password, a path and a query", async () => {
  const requests: IncomingMessage[] = [];
  const endpoint = await startReceiver((request, response) => {
    requests.push(request);
    request.resume().on("end", () => response.end());
  });
  const send = startExporter(`${endpoint.replace("//", "//us%40er:wo%3Ard@")}/otlp//?tenant=1`);
  expect(await send()).toMatchObject({ outcome: "taken" });
  expect(requests[0]?.url).toBe("/otlp/v1/traces?tenant=1");
  expect(requests[0]?.headers.authorization).toBe(`Basic ${btoa("us@er:wo:rd")}`);
});

test("an endpoint may be an address of IPv6", async () => {
  const port = await listen(
    createServer((request, response) => request.resume().on("end", () => response.end())),
    "::1",
  );
  expect(await startExporter(`http://[::1]:${port}`)()).toMatchObject({ outcome: "taken" });
});

test("over TLS a receiver is asked whose certificate is of an authority that the process trusts", async () => {
  const certificate = await newCertificate("localhost");
  const server = createTlsServer(certificate, (request, response) =>
    request.resume().on("end", () => response.end()),
  );
  const endpoint = `https://localhost:${await listen(server, "localhost")}`;
  expect(await startExporter(endpoint)()).toEqual({
    outcome: "failed",
    reason: "DEPTH_ZERO_SELF_SIGNED_CERT",
    retryAfterMs: undefined,
    isReachable: true,
  });
  // Where NODE_EXTRA_CA_CERTS adds its own when a process starts.
  const authorities = getCACertificates();
  onTestFinished(() => setDefaultCACertificates(authorities));
  setDefaultCACertificates([...authorities, certificate.cert]);
  expect(await startExporter(endpoint)()).toMatchObject({ outcome: "taken" });
});

test.each([
  ["a header that cannot be sent", "http://127.0.0.1:1", { name: "a\nb" }, "ERR_INVALID_CHAR"],
  ["a password that cannot be read", "http://user:%zz@127.0.0.1:1", {}, "URIError"],
])("%s is a refusal, and no exception", async (_, endpoint, headers, reason) => {
  expect(await startExporter(endpoint, headers as Record<string, string>)()).toEqual({
    outcome: "refused",
    reason,
  });
});

test("an answer without end is read as far as it may say something", async () => {
  const gone = Promise.withResolvers<void>();
  const endpoint = await startReceiver((request, response) => {
    const more = (): void => {
      while (response.write(Buffer.alloc(10_000)));
    };
    response.on("drain", more).on("close", gone.resolve);
    request.resume().on("end", more);
  });
  expect(await startExporter(endpoint)()).toEqual({ outcome: "taken", rejected: 0 });
  await gone.promise;
});

test("one connection is kept for all batches", async () => {
  const sockets = new Set<Socket>();
  const endpoint = await startReceiver((request, response) => {
    sockets.add(request.socket);
    request.resume().on("end", () => response.end());
  });
  const send = startExporter(endpoint);
  for (let count = 0; count < 5; count += 1) await send();
  expect(sockets.size).toBe(1);
});

test("a kept connection that the receiver has closed meanwhile is no failure, a new one is", async () => {
  const sockets = new Set<Socket>();
  let isBroken = false;
  const endpoint = await startReceiver((request, response) => {
    if (sockets.has(request.socket) || isBroken) return void request.socket.resetAndDestroy();
    sockets.add(request.socket);
    request.resume().on("end", () => response.end());
  });
  const send = startExporter(endpoint);
  for (let count = 0; count < 4; count += 1) expect(await send()).toEqual({ outcome: "taken", rejected: 0 });
  isBroken = true;
  expect(await send()).toMatchObject({ outcome: "failed", reason: "ECONNRESET", isReachable: true });
});

test.each([
  ["2", 2_000],
  ["0", 0],
  ["soon", undefined],
  ["-5", 0],
  ["Wed, 21 Oct 2015 07:28:00 GMT", 0],
])("Retry-After %j is %j ms", async (header, retryAfterMs) => {
  const endpoint = await startReceiver((request, response) => {
    request.resume().on("end", () => response.writeHead(503, { "retry-after": header }).end());
  });
  expect(await startExporter(endpoint)()).toEqual({
    outcome: "failed",
    reason: "status 503",
    retryAfterMs,
    isReachable: true,
  });
});

test.each([
  ["that is broken", 200, Buffer.from([0x0a, 0xff, 0xff]), { outcome: "taken", rejected: 0 }],
  ["with a partial success", 200, Buffer.from([0x0a, 2, 0x08, 1]), { outcome: "taken", rejected: 1 }],
  ["of 413", 413, Buffer.from("too large"), { outcome: "refused", reason: "status 413" }],
  ["of 301", 301, Buffer.alloc(0), { outcome: "refused", reason: "status 301" }],
  ["of 504", 504, Buffer.alloc(0), { outcome: "failed", reason: "status 504" }],
])("an answer %s is read", async (_, status, body, delivery) => {
  const endpoint = await startReceiver((request, response) => {
    request.resume().on("end", () => response.writeHead(status).end(body));
  });
  expect(await startExporter(endpoint)()).toMatchObject(delivery);
});
