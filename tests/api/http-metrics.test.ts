// HTTP's metrics of the whole API, compared with what clients sent and received on their sockets.
import { catalogue, createInstruments, Registry } from "@ectus/monitoring";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { recordTraces } from "../monitoring/recorded-traces.ts";
import { until } from "../postgres/until.ts";
import { brokenStorage } from "./broken-storage.ts";
import { type RawConnection, rawConnection } from "./raw-http.ts";
import { chatModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

const registry = new Registry();
let api: TestApi;
let tenant: TestTenant;
const open: RawConnection[] = [];

beforeAll(async () => {
  api = await startApi({
    instruments: createInstruments(registry),
    tracing: recordTraces(0).tracing,
    traceTrustedPeers: ["127.0.0.1"],
  });
  tenant = await api.makeTenant();
});
afterAll(() => api.close());
beforeEach(() => registry.resetMetrics());
afterEach(async () => {
  for (const { socket } of open.splice(0)) socket.destroy();
  // The gauges go on from what they were.
  await until(async () => (await total("http_active_connections")) <= 0);
});

async function connection(): Promise<RawConnection> {
  const made = await rawConnection(api.url);
  open.push(made);
  return made;
}

/** The values of a metric by its labels, as they stand in a scrape. */
async function values(name: string): Promise<Record<string, number>> {
  const text = await registry.metrics();
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return Object.fromEntries(
    lines.map((line) => {
      const [, labels = "", value] = /^[^{ ]+(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
      return [labels.replaceAll(/\w+="([^"]*)"/g, "$1").replaceAll(",", " "), Number(value)];
    }),
  );
}
async function total(name: string): Promise<number> {
  return Object.values(await values(name)).reduce((sum, value) => sum + value, 0);
}
const counted = (count: number): Promise<void> =>
  until(async () => (await total("http_requests_total")) === count);

const chat = { model: chatModel, messages: [{ role: "user" as const, content: "Hi" }] };

function chatRequest(body: object, more = ""): string {
  const text = JSON.stringify({ ...chat, ...body });
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tenant.key}\r\nContent-Type: application/json\r\n${more}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}

describe("a request", () => {
  test("for a stream is measured whole, with the bytes of its chunks", async () => {
    api.upstream.next({ dripMs: 20 });
    const one = await connection();
    const request = chatRequest({ stream: true });
    one.write(request);
    const received = await one.until(/\r\n0\r\n\r\n$/);
    await counted(1);
    const labels = "POST /v1/chat/completions";
    expect(await values("http_requests_total")).toEqual({ [`${labels} 200`]: 1 });
    expect(await values("http_request_size_bytes_sum")).toEqual({ [labels]: request.length });
    expect(await values("http_response_size_bytes_sum")).toEqual({ [labels]: received.length });
    expect((await values("http_request_duration_seconds_sum"))[`${labels} 200`]).toBeGreaterThan(0.02);
  });

  test("whose client goes away is a 499 and no error, in the log as in the metrics", async () => {
    const from = api.logLines.length;
    api.upstream.next({ hang: "mid-stream" }, { hang: "before-headers" });
    const [stream, whole] = [await connection(), await connection()];
    stream.write(chatRequest({ stream: true }));
    await stream.until(/data: /);
    whole.write(chatRequest({}));
    await until(async () => (await total("http_requests_in_flight")) === 2);
    stream.socket.resetAndDestroy();
    whole.socket.destroy();
    await counted(2);
    expect(await values("http_requests_total")).toEqual({ "POST /v1/chat/completions 499": 2 });
    expect(await values("http_request_errors_total")).toEqual({});
    expect(await total("http_requests_in_flight")).toBe(0);
    expect(api.logLines.slice(from).filter((line) => line.includes('"status":5'))).toEqual([]);
  });

  test("that failed here is an error", async () => {
    api.upstream.next({ status: 500 });
    const one = await connection();
    one.write(chatRequest({}));
    await one.until(/^HTTP\/1\.1 50\d/);
    await counted(1);
    expect(Object.keys(await values("http_request_errors_total"))).toEqual(
      Object.keys(await values("http_requests_total")),
    );
    expect(await total("http_request_errors_total")).toBe(1);
  });

  test("of a sampled trace leaves an exemplar, and of any other none", async () => {
    const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
    const openMetrics = new Registry(Registry.OPENMETRICS_CONTENT_TYPE);
    for (const metric of registry.getMetricsAsArray()) openMetrics.registerMetric(metric);
    const one = await connection();
    one.write(`GET /nowhere HTTP/1.1\r\nHost: x\r\ntraceparent: 00-${traceId}-00f067aa0ba902b7-00\r\n\r\n`);
    await one.until(/"\}\}$|\}\}$/);
    await counted(1);
    expect(await openMetrics.metrics()).not.toContain(traceId);
    one.write(
      `GET /health/live HTTP/1.1\r\nHost: x\r\ntraceparent: 00-${traceId}-00f067aa0ba902b7-01\r\n\r\n`,
    );
    await one.until(/live"\}$/);
    await counted(2);
    const lines = (await openMetrics.metrics()).split("\n").filter((line) => line.includes(traceId));
    expect(lines.map((line) => line.replace(/[{ ].*/, ""))).toEqual([
      "http_requests_total",
      "http_request_duration_seconds_bucket",
    ]);
    for (const line of lines) expect(line).toContain(`# {trace_id="${traceId}"}`);
  });

  test.each([
    ["no HTTP", "hello\r\n\r\n", { "other unmatched 400": 1 }],
    ["too large a head", `GET / HTTP/1.1\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, { "other unmatched 431": 1 }],
    [
      "an unreadable URL",
      "GET /v1/models/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      { "GET unmatched 400": 1 },
    ],
    ["no Host", "GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n", { "GET /health/live 400": 1 }],
    ["a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", { "CONNECT unmatched 404": 1 }],
    [
      "a method that the path has not",
      "PATCH /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      { "PATCH unmatched 405": 1 },
    ],
    [
      "a faulty chunk",
      "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      undefined,
    ],
  ])("with %s is counted once, with the bytes of both sides", async (_name, request, expected) => {
    const one = await connection();
    one.write(request);
    const received = await one.closed();
    await counted(1);
    if (expected !== undefined) expect(await values("http_requests_total")).toEqual(expected);
    expect(await total("http_response_size_bytes_sum")).toBe(received.length);
    expect(await total("http_request_size_bytes_sum")).toBe(request.length);
  });

  test("with a fault in its body has the status of the answer that its client got", async () => {
    const one = await connection();
    const request = chatRequest({}).replace(
      /Content-Length.*/s,
      "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    );
    one.write(request);
    await until(async () => (await total("http_requests_in_flight")) === 1);
    one.write("zz\r\n");
    expect(await one.closed()).toMatch(/^HTTP\/1\.1 400/);
    await counted(1);
    expect(await values("http_requests_total")).toEqual({ "POST /v1/chat/completions 400": 1 });
    expect(await values("http_response_size_bytes_sum")).toEqual({
      "POST /v1/chat/completions": one.received.length,
    });
  });
});

test("what is refused while the server stops is counted", async () => {
  const stopping = new Registry();
  const other = await startApi({ instruments: createInstruments(stopping) });
  const { key } = await other.makeTenant();
  other.upstream.next({ delayMs: 300 });
  const whole = other.request("POST", "/v1/chat/completions", { key, body: chat });
  await until(() => other.upstream.requestCount === 1);
  const closing = other.server.close(5_000);
  expect((await other.request("GET", "/v1/models", { key })).status).toBe(503);
  expect((await whole).status).toBe(200);
  await closing;
  const text = await stopping.metrics();
  expect(text).toContain('http_requests_total{method="GET",path="/v1/models",status="503"} 1');
  expect(text).toContain('http_request_errors_total{method="GET",path="/v1/models",status="503"} 1');
  expect(text).toMatch(/^http_requests_in_flight 0$/m);
  await until(async () => /^http_active_connections 0$/m.test(await stopping.metrics()));
  await other.close();
});

test("what a server that stops has to cut is its own failure, and nothing is left open", async () => {
  const stopping = new Registry();
  const other = await startApi({ instruments: createInstruments(stopping), logLevel: "info" });
  const { key } = await other.makeTenant();
  other.upstream.next({ hang: "mid-stream" }, { hang: "before-headers" });
  const post = (body: string, length = body.length): string =>
    `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`;
  const clients = await Promise.all(Array.from({ length: 5 }, () => rawConnection(other.url)));
  const [stream, whole, unread, piped] = clients as [
    RawConnection,
    RawConnection,
    RawConnection,
    RawConnection,
  ];
  stream.write(post(JSON.stringify({ ...chat, stream: true })));
  await until(() => other.upstream.requestCount === 1);
  whole.write(post(JSON.stringify(chat)));
  await until(() => other.upstream.requestCount === 2);
  unread.write(post("{", 100));
  piped.write(`GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n${post("{", 100)}`);
  await until(() => other.server.inProgress === 4);
  await other.close(50);
  const text = await stopping.metrics();
  const counts = [...text.matchAll(/^http_requests_total\{(.*)\} (\d+)$/gm)].map(
    ([, labels = "", count]) => `${labels.replaceAll(/\w+="([^"]*)"/g, "$1").replaceAll(",", " ")}: ${count}`,
  );
  expect(counts.sort()).toEqual([
    "GET /health/live 200: 1",
    "POST /v1/chat/completions 200: 1",
    "POST /v1/chat/completions 503: 3",
  ]);
  expect(other.logLines.filter((line) => line.includes('"status":499'))).toEqual([]);
  expect(text).toMatch(/^http_requests_in_flight 0$/m);
  await until(async () => /^http_active_connections 0$/m.test(await stopping.metrics()));
  for (const { socket } of clients) socket.destroy();
});

test("a file that breaks off within its contents is a failure of the server's, not of its client", async () => {
  const broken = new Registry();
  await using other = await startApi({ instruments: createInstruments(broken), storage: brokenStorage });
  const { client } = await other.makeTenant();
  const file = await client.files.create({ file: new File(["x"], "a.txt"), purpose: "user_data" });
  await expect(client.files.content(file.id).then((answer) => answer.text())).rejects.toThrow();
  const series = 'method="GET",path="/v1/files/:id/content",status="500"';
  await until(async () => (await broken.metrics()).includes(`http_requests_total{${series}} 1`));
  expect(await broken.metrics()).toContain(`http_request_errors_total{${series}} 1`);
  expect(other.logLines.some((line) => line.includes("the disk is gone"))).toBe(true);
  expect(other.logLines.some((line) => line.includes('"status":500'))).toBe(true);
});

test("paths are no more than the catalogue says, static files of the docs included", () => {
  const { atMost } = catalogue.http_requests_total.labels.path;
  const paths = new Set(["unmatched", ...api.server.routes.map(({ url }) => url)]);
  expect([...paths].some((path) => path.startsWith("/docs/static/"))).toBe(true);
  expect(paths.size).toBeLessThanOrEqual(atMost);
});

interface Sent {
  readonly text: string;
  /** Requests that the server must have seen. */
  readonly count: number;
}

const paths = [
  "/v1/models",
  `/v1/models/${chatModel}`,
  "/v1/files",
  "/health/live",
  "/health/ready/",
  "/nowhere",
  "/v1/chat/completions",
  "/v1/embeddings",
  "/docs/json",
  "/v1/files/none/content",
];

/** Requests with bodies of all kinds, whole. */
const request = fc
  .record({
    method: fc.constantFrom(
      "GET",
      "HEAD",
      "POST",
      "PUT",
      "DELETE",
      "OPTIONS",
      "TRACE",
      "PATCH",
      "PROPFIND",
      "GET",
    ),
    path: fc.constantFrom(...paths),
    hasKey: fc.boolean(),
    body: fc.option(
      fc.oneof(
        fc.string(),
        fc.constant(JSON.stringify(chat)),
        fc.constant(JSON.stringify({ ...chat, stream: true })),
      ),
    ),
    chunked: fc.boolean(),
    headers: fc.array(fc.tuple(fc.stringMatching(/^X-[A-Za-z]{1,8}$/), fc.stringMatching(/^[!-~]{1,20}$/)), {
      maxLength: 3,
    }),
  })
  .map(({ method, path, hasKey, body, chunked, headers }) => {
    const lines = [
      `${method} ${path} HTTP/1.1`,
      "Host: x",
      ...headers.map(([name, value]) => `${name}: ${value}`),
    ];
    if (hasKey) lines.push(`Authorization: Bearer KEY`);
    if (body === null) return `${lines.join("\r\n")}\r\n\r\n`;
    lines.push("Content-Type: application/json");
    const bytes = Buffer.from(body);
    const text = bytes.toString("latin1");
    if (!chunked) return `${[...lines, `Content-Length: ${bytes.length}`].join("\r\n")}\r\n\r\n${text}`;
    const middle = bytes.length >> 1;
    const chunks = [text.slice(0, middle), text.slice(middle)].filter((chunk) => chunk !== "");
    return `${[...lines, "Transfer-Encoding: chunked"].join("\r\n")}\r\n\r\n${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")}0\r\n\r\n`;
  });

/** What may come last on a connection, after which the client sends its end. */
const last = fc.constantFrom<Sent>(
  { text: "", count: 0 },
  { text: "", count: 0 },
  { text: "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", count: 1 },
  { text: "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly some of it", count: 1 },
);

const conversation = fc.record({
  requests: fc.array(request, { minLength: 1, maxLength: 6 }),
  last,
  /** Whether the next request waits for an answer to the one before. */
  waits: fc.boolean(),
  ending: fc.constantFrom("end", "end", "reset"),
});

test("of a thousand random requests each is counted and logged once, and all bytes are somebody's", async () => {
  let requests = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(conversation, { minLength: 1, maxLength: 4 }), async (conversations) => {
      registry.resetMetrics();
      const from = api.logLines.length;
      const results = await Promise.all(
        conversations.map(async ({ requests: texts, last: end, waits, ending }) => {
          const one = await connection();
          const isReset = ending === "reset";
          const sent = texts.map((text) => text.replace("KEY", tenant.key));
          if (waits || isReset) {
            for (const [index, text] of sent.entries()) {
              one.write(Buffer.from(text, "latin1"));
              await answers(one, index + 1);
            }
          } else {
            one.write(Buffer.from(sent.join(""), "latin1"));
          }
          if (isReset) one.socket.resetAndDestroy();
          else one.socket.end(Buffer.from(end.text, "latin1"));
          await one.closed();
          const all = sent.join("").length + (isReset ? 0 : end.text.length);
          return {
            isReset,
            sent: all,
            received: one.received.length,
            count: sent.length + (isReset ? 0 : end.count),
          };
        }),
      );
      const sum = (of: (result: (typeof results)[number]) => number): number =>
        results.reduce((whole, result) => whole + of(result), 0);
      const count = sum((result) => result.count);
      requests += count;
      await until(async () => (await total("http_active_connections")) === 0);
      expect(await total("http_requests_in_flight")).toBe(0);
      expect(await total("http_requests_total")).toBe(count);
      const accesses = api.logLines.slice(from).filter((line) => line.includes('"msg":"request"'));
      expect(new Set(accesses.map((line) => JSON.parse(line).requestId)).size).toBe(count);
      expect(accesses).toHaveLength(count);
      expect(await total("http_request_duration_seconds_count")).toBe(count);
      expect(await total("http_request_size_bytes_count")).toBe(count);
      expect(await total("http_response_size_bytes_count")).toBe(count);
      expect(await total("http_request_size_bytes_sum")).toBe(sum((result) => result.sent));
      if (results.some(({ isReset }) => isReset))
        expect(await total("http_response_size_bytes_sum")).toBeGreaterThanOrEqual(sum((r) => r.received));
      else expect(await total("http_response_size_bytes_sum")).toBe(sum((result) => result.received));
    }),
    { numRuns: 170 },
  );
  expect(requests).toBeGreaterThan(1_000);
}, 120_000);

/** Waits until so many answers have begun. */
async function answers(one: RawConnection, count: number): Promise<void> {
  await one.until(new RegExp(`^(?:.*?HTTP/1\\.1 [2-5]\\d\\d ){${count}}`, "s"));
}
