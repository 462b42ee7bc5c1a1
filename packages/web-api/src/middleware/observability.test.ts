import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { currentContext, EctusError } from "@ectus/core";
import { currentSpan, noInstruments, noTracing } from "@ectus/monitoring";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import fc from "fast-check";
import type { FastifyInstance } from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import {
  type Client,
  get,
  type MeasuredServer,
  type MeasuredServerOptions,
  startMeasuredServer,
} from "../../../../tests/api/measured-server.ts";
import { until } from "../../../../tests/postgres/until.ts";
import { sendError } from "./error-handler.ts";
import { noteBroken } from "./request-outcome.ts";

let server: MeasuredServer | undefined;
afterEach(() => server?.[Symbol.asyncDispose]());

async function start(
  options: MeasuredServerOptions = {},
): Promise<{ server: MeasuredServer; client: Client }> {
  server = await startMeasuredServer(options);
  return { server, client: await server.client() };
}

const accesses = async (count: number): Promise<Record<string, unknown>[]> => {
  await until(() => (server?.accesses().length ?? 0) >= count);
  return (server as MeasuredServer).accesses();
};

const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const caller = "00f067aa0ba902b7";
const traceparent = (flags: string): string => `traceparent: 00-${trace}-${caller}-${flags}\r\n`;

/** A header of the answer, when it is there. */
async function header(client: Client, name: string): Promise<string | undefined> {
  await client.until(/\r\n\r\n/);
  return new RegExp(`^${name}: (.*)\r$`, "m").exec(client.received)?.[1];
}

describe("the ids of a request", () => {
  test("are one, in its answer, its access line, its context and its trace", async () => {
    let seen: { requestId: string; correlationId: string; traceId: string | undefined } | undefined;
    const { client } = await start({
      sampleRatio: 1,
      addMoreRoutes(app) {
        app.get("/context", async () => {
          const { requestId = "", correlationId = "" } = currentContext() ?? {};
          seen = { requestId, correlationId, traceId: currentSpan()?.traceId };
          return {};
        });
      },
    });
    client.send(get("/context"));
    const [line] = await accesses(1);
    const requestId = (await header(client, "x-request-id")) ?? "";
    expect(requestId).toMatch(/^req_[\da-f]{32}$/);
    expect(await header(client, "x-correlation-id")).toBeUndefined();
    expect(line).toMatchObject({ requestId, correlationId: requestId, traceId: requestId.slice(4) });
    expect(seen).toEqual({ requestId, correlationId: requestId, traceId: requestId.slice(4) });
    const [span] = (await server?.traces.spans()) ?? [];
    expect(span?.spanContext()).toMatchObject({ traceId: requestId.slice(4), spanId: line?.spanId });
  });

  test("go on with the caller's correlation id, which its answer repeats", async () => {
    const { client } = await start({ sampleRatio: 1 });
    client.send(get("/small/1", "X-Request-Id: ours-17\r\n"));
    const [line] = await accesses(1);
    expect(line).toMatchObject({ correlationId: "ours-17" });
    expect(await header(client, "x-correlation-id")).toBe("ours-17");
    expect(await header(client, "x-request-id")).toBe(line?.requestId);
    const [span] = (await server?.traces.spans()) ?? [];
    expect(span?.attributes).toMatchObject({ "ectus.correlation_id": "ours-17" });
  });

  test("survive the reading of a body", async () => {
    let id: string | undefined;
    const { client } = await start({
      addMoreRoutes(app) {
        app.post("/body", async () => {
          await delay(1);
          id = currentContext()?.requestId;
          return {};
        });
      },
    });
    client.send(
      "POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
    );
    await until(async () => (await server?.total("http_requests_in_flight")) === 1);
    client.send("{}");
    const [line] = await accesses(1);
    expect(id).toBe(line?.requestId);
  });

  test("are told of a URL that reaches no hook", async () => {
    const { client } = await start();
    client.send(get("/%zz"));
    const [line] = await accesses(1);
    const requestId = await header(client, "x-request-id");
    expect(requestId).toMatch(/^req_[\da-f]{32}$/);
    expect(line).toMatchObject({ requestId, method: "GET", path: "unmatched", status: 400 });
  });
});

describe("the span of a request", () => {
  test("has the route's pattern and nothing that its client wrote", async () => {
    const { client } = await start({ sampleRatio: 1 });
    client.send(
      get("/small/ada@example.com?key=sk-secret", "User-Agent: agent\r\nAuthorization: Bearer k\r\n"),
    );
    await accesses(1);
    const [span] = (await server?.traces.spans()) ?? [];
    expect(span?.name).toBe("GET /small/:id");
    expect(span?.kind).toBe(SpanKind.SERVER);
    expect(span?.status.code).toBe(SpanStatusCode.UNSET);
    expect(span?.attributes).toEqual({
      "http.request.method": "GET",
      "http.route": "/small/:id",
      "http.response.status_code": 200,
      "url.scheme": "http",
      "network.protocol.version": "1.1",
    });
  });

  test("is called by its method where no route fits, and HTTP where that is no standard one", async () => {
    const { client } = await start({ sampleRatio: 1 });
    client.send(`${get("/nowhere")}PROPFIND /several HTTP/1.1\r\nHost: x\r\n\r\n`);
    await accesses(2);
    const spans = (await server?.traces.spans()) ?? [];
    expect(spans.map(({ name }) => name)).toEqual(["GET", "HTTP"]);
    expect(spans[1]?.attributes).toMatchObject({
      "http.request.method": "_OTHER",
      "http.request.method_original": "PROPFIND",
      "http.response.status_code": 404,
    });
    expect(spans[1]?.attributes).not.toHaveProperty("http.route");
  });

  test("continues the caller's trace, and has the request id besides", async () => {
    const { client } = await start({ sampleRatio: 1 });
    client.send(get("/small/1", traceparent("00")));
    const [line] = await accesses(1);
    expect(line).toMatchObject({ traceId: trace, kept: "sampled" });
    const [span] = (await server?.traces.spans()) ?? [];
    expect(span?.spanContext().traceId).toBe(trace);
    expect(span?.parentSpanContext).toMatchObject({ traceId: trace, spanId: caller, isRemote: true });
    expect(span?.attributes).toMatchObject({ "ectus.request_id": line?.requestId });
  });

  test.each([
    ["kept when a trusted caller keeps it", ["127.0.0.0/8"], "01", 0, "sampled"],
    ["dropped when a trusted caller drops it", ["127.0.0.0/8"], "00", 1, undefined],
    ["not kept for a caller that is not trusted", ["10.0.0.0/8"], "01", 0, undefined],
  ])("is %s", async (_name, traceTrustedPeers, flags, sampleRatio, kept) => {
    const { client } = await start({ traceTrustedPeers, sampleRatio });
    client.send(get("/small/1", traceparent(flags)));
    const [line] = await accesses(1);
    expect([line?.traceId, line?.kept]).toEqual([trace, kept]);
    expect(await server?.traces.spans()).toHaveLength(kept === undefined ? 0 : 1);
  });

  test.each([
    ["of zeros", `traceparent: 00-${"0".repeat(32)}-${caller}-01\r\n`],
    ["that is too long", `traceparent: 00-${trace}-${caller}-01-${"x".repeat(4_000)}\r\n`],
    ["that came twice", traceparent("01").repeat(2)],
    ["of other characters", "traceparent: 00-../../etc/passwd\r\n"],
  ])("begins a trace of its own with a header %s", async (_name, more) => {
    const { client } = await start({ traceTrustedPeers: ["127.0.0.1"] });
    client.send(get("/small/1", more));
    const [line] = await accesses(1);
    expect(line?.requestId).toBe(`req_${line?.traceId}`);
    expect(line).not.toHaveProperty("kept");
  });
});

describe("a trace is kept", () => {
  const failing = (app: FastifyInstance): void => {
    app.get("/coded", async (request, reply) => {
      const error = new EctusError("storage_error", { reason: "a disk of ada@example.com" });
      sendError(request, reply, error, app.log as never);
      return reply;
    });
    app.get("/stream", async (_request, reply) => {
      reply.hijack();
      reply.raw.write("begun");
      noteBroken(reply.raw, "stream_interrupted");
      reply.raw.end();
    });
    app.get("/soon", { config: { slowAfter: 1 } }, async () => {
      await delay(5);
      return {};
    });
    app.post("/long", { config: { slowAfter: "inference" } }, async (_request, reply) => {
      // The answer begins at once and goes on.
      reply.header("content-type", "text/plain");
      const { PassThrough } = await import("node:stream");
      const body = new PassThrough();
      body.write("a");
      setTimeout(() => body.end("b"), 150);
      return reply.send(body);
    });
    app.post("/late", { config: { slowAfter: "inference" } }, async () => {
      await delay(150);
      return {};
    });
  };
  const exemplars = async (): Promise<string[]> =>
    [...(await (server as MeasuredServer).registry.getMetricsAsJSON()).values()].flatMap((metric) =>
      JSON.stringify(metric).includes("trace_id") ? [metric.name] : [],
    );

  test("when its request failed, with our code as its error", async () => {
    const { client } = await start({ addMoreRoutes: failing });
    client.send(get("/coded") + get("/broken") + get("/small/1") + get("/nowhere"));
    const lines = await accesses(4);
    expect(lines.map(({ status, code, kept }) => [status, code, kept])).toEqual([
      [500, "storage_error", "error"],
      [500, undefined, "error"],
      [200, undefined, undefined],
      [404, undefined, undefined],
    ]);
    const spans = (await server?.traces.spans()) ?? [];
    expect(spans.map(({ attributes }) => attributes["error.type"])).toEqual(["storage_error", "500"]);
    for (const { status } of spans) expect(status).toEqual({ code: SpanStatusCode.ERROR });
    expect(JSON.stringify(spans.map(({ attributes, events }) => [attributes, events]))).not.toContain("ada@");
  });

  test("when its answer broke off after a 200", async () => {
    const { client } = await start({ addMoreRoutes: failing });
    client.send(get("/stream"));
    expect(await accesses(1)).toMatchObject([{ status: 200, code: "stream_interrupted", kept: "error" }]);
    const [span] = (await server?.traces.spans()) ?? [];
    expect(span?.status.code).toBe(SpanStatusCode.ERROR);
    expect(span?.attributes["error.type"]).toBe("stream_interrupted");
  });

  test("when it took longer than its route may", async () => {
    const { client } = await start({ addMoreRoutes: failing });
    client.send(get("/soon") + get("/small/1"));
    expect((await accesses(2)).map(({ kept }) => kept)).toEqual(["slow", undefined]);
    expect((await server?.traces.spans())?.map(({ name, status }) => [name, status.code])).toEqual([
      ["GET /soon", SpanStatusCode.UNSET],
    ]);
  });

  test("for inference when its answer began late, not when it went on for long", async () => {
    const { client } = await start({ addMoreRoutes: failing, slowRequestMs: 1, slowInferenceMs: 100 });
    const head = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`;
    client.send(head("/long"));
    const [long] = await accesses(1);
    expect(long).toMatchObject({ path: "/long", status: 200 });
    expect(long?.durationMs).toBeGreaterThan(100);
    expect(long).not.toHaveProperty("kept");
    client.send(head("/late"));
    expect((await accesses(2))[1]).toMatchObject({ path: "/late", kept: "slow" });
  });

  test("not because its client went away", async () => {
    const { client } = await start();
    client.send(get("/hang"));
    await until(async () => (await server?.total("http_requests_in_flight")) === 1);
    client.socket.resetAndDestroy();
    const [line] = await accesses(1);
    expect(line).toMatchObject({ status: 499 });
    expect(line).not.toHaveProperty("kept");
    expect(await server?.traces.spans()).toEqual([]);
  });

  test("and only then exemplars lead to it", async () => {
    const { server, client } = await start({ addMoreRoutes: failing });
    client.send(get("/small/1"));
    await server.counted(1);
    expect(await server.registry.metrics("application/openmetrics-text" as never)).not.toContain("trace_id");
    expect(await exemplars()).toEqual([]);
    client.send(get("/coded"));
    const [, line] = await accesses(2);
    const text = JSON.stringify(await server.registry.getMetricsAsJSON());
    expect(text).toContain(line?.traceId);
  });
});

describe("each part does its work without the others", () => {
  test("without metrics", async () => {
    const { client } = await start({ instruments: noInstruments });
    client.send(get("/broken") + get("/small/1"));
    expect((await accesses(2)).map(({ status, kept }) => [status, kept])).toEqual([
      [500, "error"],
      [200, undefined],
    ]);
    expect(await server?.traces.spans()).toHaveLength(1);
  });

  test("without traces; those of callers go on", async () => {
    const { client } = await start({ tracing: noTracing });
    client.send(get("/small/1") + get("/small/1", traceparent("01")));
    const [own, called] = await accesses(2);
    expect(own).not.toHaveProperty("traceId");
    expect(called).toMatchObject({ traceId: trace, spanId: caller });
    await server?.counted(2);
  });

  test("without traces, requests that were slow are logged all the same", async () => {
    const { client } = await start({
      tracing: noTracing,
      slowRequestMs: 0.000_001,
      logSample: new Map([["*", { share: 0 }]]),
    });
    client.send(get("/small/1"));
    expect(await accesses(1)).toHaveLength(1);
  });

  test("without a log", async () => {
    const { server, client } = await start({ sampleRatio: 1 });
    server.logging.setLevels({ default: "info", modules: { "web-api": "warn" } });
    client.send(get("/small/1") + get("/broken"));
    await server.counted(2);
    expect(server.accesses()).toEqual([]);
    expect(await server.traces.spans()).toHaveLength(2);
    server.logging.setLevels(undefined);
    client.send(get("/small/1"));
    expect(await accesses(1)).toHaveLength(1);
  });
});

describe("access lines", () => {
  test("that a sample leaves out are counted; errors, slow requests and kept ones are written", async () => {
    const { server, client } = await start({
      logSample: new Map([
        ["/small/:id", { share: 0 }],
        ["*", { share: 0 }],
      ]),
      slowRequestMs: 40,
      addMoreRoutes(app) {
        app.get("/slow", async () => {
          await delay(60);
          return {};
        });
      },
    });
    client.send(get("/small/1") + get("/empty") + get("/broken") + get("/nowhere") + get("/slow"));
    await server.counted(5);
    expect(server.accesses().map(({ path, status }) => [path, status])).toEqual([
      ["/broken", 500],
      ["unmatched", 404],
      ["/slow", 200],
    ]);
    expect(server.logging.counts.sampledOut).toBe(2);
  });

  test("have one order, and end with a line feed", async () => {
    const { server, client } = await start({ sampleRatio: 1 });
    client.send(get("/small/1", `${traceparent("00")}X-Correlation-Id: c-1\r\n`));
    const [line] = await accesses(1);
    expect(server.lines.map((text) => text.replace(/(?<="durationMs":)\d+(\.\d{3})?(?=,)/, "0"))).toEqual([
      `{"level":"info","time":"${line?.time}","module":"web-api","correlationId":"c-1","requestId":"${line?.requestId}",` +
        `"traceId":"${trace}","spanId":"${line?.spanId}","method":"GET","path":"/small/:id","status":200,` +
        `"durationMs":0,"kept":"sampled","msg":"request"}\n`,
    ]);
    expect(line?.time).toBe(new Date(line?.time as string).toISOString());
  });

  test("are JSON with the fields of their names, whatever a client sends", async () => {
    const { server } = await start({ traceTrustedPeers: ["127.0.0.1"] });
    const text = (from: number, to: number): fc.Arbitrary<string> =>
      fc.string({ unit: fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code)) });
    // What may stand in a header: https://www.rfc-editor.org/rfc/rfc9110#section-5.5
    const value = fc.tuple(text(0x20, 0x7e), text(0x80, 0xff)).map((parts) => parts.join(""));
    const headers = fc.record({
      "x-correlation-id": value,
      "x-request-id": value,
      traceparent: fc.oneof(value, fc.constant(`00-${trace}-${caller}-01`)),
      tracestate: value,
      "user-agent": value,
    });
    const path = text(0x21, 0x7e);
    const method = fc.constantFrom("GET", "HEAD", "DELETE", "M-SEARCH", "UNLOCK", "OPTIONS");
    await fc.assert(
      fc.asyncProperty(method, path, headers, async (verb, url, all) => {
        server.lines.length = 0;
        const one = await server.client();
        const lines = Object.entries(all).map(([name, content]) => `${name}: ${content}\r\n`);
        one.send(`${verb} /${url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines.join("")}\r\n`);
        await once(one.socket, "close");
        await until(() => server.lines.length > 0);
        expect(server.lines).toHaveLength(1);
        const line = server.lines[0] as string;
        expect(line.indexOf("\n")).toBe(line.length - 1);
        const fields = JSON.parse(line);
        const { durationMs } = fields;
        expect(durationMs).toBeGreaterThan(0);
        expect(JSON.stringify(fields)).toBe(
          line.trimEnd().replace(/"durationMs":[\d.]+/, `"durationMs":${durationMs}`),
        );
        const known =
          /^(level|time|module|correlationId|requestId|traceId|spanId|method|path|status|durationMs|kept|msg)$/;
        for (const name of Object.keys(fields)) expect(name).toMatch(known);
        expect(fields).toMatchObject({ msg: "request", module: "web-api", method: verb });
      }),
      { numRuns: 100 },
    );
  });
});
