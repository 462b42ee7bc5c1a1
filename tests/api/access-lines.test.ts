// One access line for each request that got an answer, whoever answered it, with the ids and the code of that answer; and
// what becomes of the trace of an answer that breaks off.
import { createInstruments, Registry } from "@ectus/monitoring";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type RecordedTraces, recordTraces } from "../monitoring/recorded-traces.ts";
import { until } from "../postgres/until.ts";
import { brokenStorage } from "./broken-storage.ts";
import { parseAnswer, type RawConnection, rawConnection } from "./raw-http.ts";
import { chatModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

let api: TestApi;
let tenant: TestTenant;
let traces: RecordedTraces;
let from = 0;
let seenSpans = 0;
const open: RawConnection[] = [];

beforeAll(async () => {
  traces = recordTraces(0);
  api = await startApi({ tracing: traces.tracing });
  tenant = await api.makeTenant();
});
afterAll(() => api.close());
beforeEach(async () => {
  from = api.logLines.length;
  seenSpans = (await traces.spans()).length;
});
afterEach(() => {
  for (const { socket } of open.splice(0)) socket.destroy();
});

async function connection(to = api): Promise<RawConnection> {
  const made = await rawConnection(to.url);
  open.push(made);
  return made;
}

type Line = Readonly<Record<string, unknown>>;
const accessLinesOf = (lines: readonly string[]): Line[] =>
  lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "request");

/** The access lines of this test when there are so many. */
async function accessLines(count: number): Promise<Line[]> {
  const lines = (): Line[] => accessLinesOf(api.logLines.slice(from));
  await until(() => lines().length >= count);
  return lines();
}

/** The server's spans that were kept in this test. */
async function serverSpans() {
  return (await traces.spans()).slice(seenSpans).filter(({ kind }) => kind === SpanKind.SERVER);
}

const chat = { model: chatModel, messages: [{ role: "user" as const, content: "Hi" }] };
function chatRequest(key: string, more: object = {}): string {
  const body = JSON.stringify({ ...chat, ...more });
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}
const close = "Host: x\r\nConnection: close\r\n";

describe("a request", () => {
  test.each([
    ["that is answered", `GET /health/live HTTP/1.1\r\n${close}\r\n`, "GET /health/live 200"],
    ["for a head alone", `HEAD /health/live HTTP/1.1\r\n${close}\r\n`, "HEAD /health/live 200"],
    ["of HTTP/1.0", "GET /health/live HTTP/1.0\r\n\r\n", "GET /health/live 200"],
    [
      "for another protocol",
      `GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n`,
      "GET /health/live 200",
    ],
    ["without a key", `GET /v1/models HTTP/1.1\r\n${close}\r\n`, "GET /v1/models 401"],
    [
      "whose body nobody waits for",
      `POST /v1/files HTTP/1.1\r\n${close}Content-Length: 9\r\n\r\n`,
      "POST /v1/files 401",
    ],
    ["without a host", "GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n", "GET /health/live 400"],
    ["for what is not there", `GET /nowhere HTTP/1.1\r\n${close}\r\n`, "GET unmatched 404"],
    ["by another method", `OPTIONS /v1/models HTTP/1.1\r\n${close}\r\n`, "OPTIONS unmatched 405"],
    ["whose URL cannot be read", `GET /v1/models/%zz HTTP/1.1\r\n${close}\r\n`, "GET unmatched 400"],
    ["with too long an id", `GET /v1/files/${"x".repeat(300)} HTTP/1.1\r\n${close}\r\n`, "GET unmatched 404"],
    [
      "that expects a miracle",
      `GET /health/live HTTP/1.1\r\n${close}Expect: a-miracle\r\n\r\n`,
      "GET unmatched 417",
    ],
    ["for a tunnel", "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT unmatched 404"],
    ["that is none", "hello\r\n\r\n", "other unmatched 400"],
    ["with too large a head", `GET / HTTP/1.1\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, "other unmatched 431"],
  ])("%s has one line, and no other", async (_name, request, expected) => {
    const one = await connection();
    one.write(request);
    const answer = parseAnswer(await one.closed());
    const [line] = await accessLines(1);
    expect(api.logLines.slice(from)).toHaveLength(1);
    expect(`${line?.method} ${line?.path} ${line?.status}`).toBe(expected);
    expect(answer.status).toBe(line?.status);
    expect(answer.headers["x-request-id"]).toBe(line?.requestId);
    const code = answer.body.startsWith("{") ? JSON.parse(answer.body).error?.code : undefined;
    expect(line?.code).toBe(code);
    expect(code === undefined).toBe(answer.status < 400 || answer.status === 417);
  });

  test("whose URL cannot be read has its caller's ids and a trace like any other", async () => {
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    const one = await connection();
    one.write(
      `GET /%zz HTTP/1.1\r\n${close}X-Correlation-Id: c-1\r\nTraceparent: 00-${trace}-00f067aa0ba902b7-01\r\n\r\n`,
    );
    const { headers } = parseAnswer(await one.closed());
    expect(await accessLines(1)).toMatchObject([{ correlationId: "c-1", traceId: trace }]);
    expect(headers["x-correlation-id"]).toBe("c-1");
  });

  test("with a fault in its body has the ids and the code of the answer that its client got", async () => {
    const one = await connection();
    one.write(
      chatRequest(tenant.key).replace(
        /Content-Length.*/s,
        "X-Request-Id: ours-1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
      ),
    );
    await until(() => api.server.inProgress === 1);
    one.write("zz\r\n");
    const answer = parseAnswer(await one.closed());
    expect(await accessLines(1)).toMatchObject([
      {
        path: "/v1/chat/completions",
        status: 400,
        code: "malformed_request",
        requestId: answer.headers["x-request-id"],
        correlationId: "ours-1",
      },
    ]);
    expect(answer.headers["x-correlation-id"]).toBe("ours-1");
    expect(await accessLines(1)).toHaveLength(1);
  });

  test("for an upload with a fault in its framing, too", async () => {
    const one = await connection();
    one.write(
      `POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tenant.key}\r\n` +
        "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n--b\r\n",
    );
    await until(() => api.server.inProgress === 1);
    one.write("zz\r\n");
    const { status, headers } = parseAnswer(await one.closed());
    expect(await accessLines(1)).toMatchObject([
      { status, path: "/v1/files", code: "malformed_request", requestId: headers["x-request-id"] },
    ]);
  });

  test("behind which its client left has the status of a client that left, and so have those after it", async () => {
    api.upstream.next({ hang: "before-headers" });
    const requests = api.upstream.requestCount;
    const one = await connection();
    const small = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    one.write(small + chatRequest(tenant.key) + small);
    await until(() => api.upstream.requestCount === requests + 1);
    await until(() => api.server.inProgress === 2);
    one.socket.resetAndDestroy();
    expect((await accessLines(3)).map(({ path, status, code }) => [path, status, code])).toEqual([
      ["/health/live", 200, undefined],
      ["/v1/chat/completions", 499, "client_closed_request"],
      ["/health/live", 499, "client_closed_request"],
    ]);
    expect(await serverSpans()).toEqual([]);
  });
});

describe("an answer that breaks off", () => {
  test.each([
    ["resets its connection", { reset: "mid-stream" as const }],
    ["ends its stream early", { truncate: true }],
  ])("because the upstream %s is a failure in its line and its trace", async (_name, behavior) => {
    api.upstream.next(behavior);
    const one = await connection();
    one.write(chatRequest(tenant.key, { stream: true }));
    await one.until(/"code":"stream_interrupted"/);
    const [line] = await accessLines(1);
    expect(line).toMatchObject({ status: 200, code: "stream_interrupted", kept: "error" });
    const why = api.logLines.slice(from).find((text) => text.includes('"msg":"stream broken off"'));
    const { requestId, traceId, tenantId } = line as Line;
    expect(JSON.parse(why ?? "{}")).toMatchObject({ requestId, traceId, tenantId: tenantId as string });
    const [span] = await serverSpans();
    expect(span?.spanContext().traceId).toBe(line?.traceId);
    expect(span?.status.code).toBe(SpanStatusCode.ERROR);
    expect(span?.attributes["error.type"]).toBe("stream_interrupted");
  });

  test("because its client left is none", async () => {
    api.upstream.next({ hang: "mid-stream" });
    const one = await connection();
    one.write(chatRequest(tenant.key, { stream: true }));
    await one.until(/data: /);
    one.socket.resetAndDestroy();
    const [line] = await accessLines(1);
    expect(line).toMatchObject({ status: 499, code: "client_closed_request" });
    expect(line).not.toHaveProperty("kept");
    expect(await serverSpans()).toEqual([]);
  });

  test("because the disk is gone says so", async () => {
    const kept = recordTraces(0);
    await using other = await startApi({ tracing: kept.tracing, storage: brokenStorage });
    const { client } = await other.makeTenant();
    const file = await client.files.create({ file: new File(["x"], "a.txt"), purpose: "user_data" });
    await expect(client.files.content(file.id).then((answer) => answer.text())).rejects.toThrow();
    const ofContents = (): Line | undefined =>
      accessLinesOf(other.logLines).find(({ path }) => path === "/v1/files/:id/content");
    await until(() => ofContents() !== undefined);
    expect(ofContents()).toMatchObject({ status: 500, code: "storage_error", kept: "error" });
    const spans = (await kept.spans()).filter(({ kind }) => kind === SpanKind.SERVER);
    expect(spans.map(({ attributes }) => attributes["error.type"])).toEqual(["storage_error"]);
  });

  test("because the server stops is its own failure, be it a stream, or a request whose body had not come", async () => {
    const kept = recordTraces(0);
    const registry = new Registry();
    const other = await startApi({ tracing: kept.tracing, instruments: createInstruments(registry) });
    const { key } = await other.makeTenant();
    other.upstream.next({ hang: "mid-stream" });
    const stream = await connection(other);
    stream.write(chatRequest(key, { stream: true }));
    await stream.until(/data: /);
    const unread = await connection(other);
    unread.write(chatRequest(key).slice(0, -1));
    await until(() => other.server.inProgress === 2);
    await other.close(20);
    const lines = accessLinesOf(other.logLines).filter(({ path }) => path === "/v1/chat/completions");
    const facts = lines.map(({ status, code, kept: why }) => [status, code, why]);
    expect(facts.sort()).toEqual([
      [200, "shutting_down", "error"],
      [503, "shutting_down", "error"],
    ]);
    const spans = (await kept.spans()).filter(({ kind }) => kind === SpanKind.SERVER);
    expect(spans.map(({ status }) => status.code)).toEqual([SpanStatusCode.ERROR, SpanStatusCode.ERROR]);
    expect(await registry.metrics()).toMatch(/^http_requests_in_flight 0$/m);
  });
});
