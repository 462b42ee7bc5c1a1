import { createLogging, type Logging } from "@ectus/core";
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { createAccessLog, type RequestEnd } from "./access-log.ts";
import type { Exchange } from "./exchange.ts";

const id = "req_01a20f38002c77b2a9690907f6577751";
const tenantId = "01a20f38-002c-77b2-a969-0907f6577751";
let lines: string[];
let logging: Logging;
beforeEach(() => {
  lines = [];
  logging = createLogging({
    levels: { default: "info", modules: {} },
    format: "json",
    destination: { write: (line) => void lines.push(line) },
  });
});

function write(ms: number, more: Partial<Exchange> = {}, end: Partial<RequestEnd> = {}): string | undefined {
  const log = createAccessLog({ logging, samples: new Map() });
  const context = { correlationId: id, requestId: id, span: undefined, tenantId: undefined };
  const exchange = {
    context,
    span: undefined,
    startedMs: 0,
    isBroken: false,
    connection: {},
    ...more,
  } as Exchange;
  log.write(exchange, log.lines("GET", '/a"\\b/:id'), { status: 200, endMs: ms, isSlow: false, ...end });
  return lines.pop()?.replace(/(?<="time":")[^"]*/, "now");
}

const start = `{"level":"info","time":"now","module":"web-api","correlationId":"${id}","requestId":"${id}"`;

test("a line has all that is known, and what stands in a route's pattern is escaped", () => {
  expect(write(1.25)).toBe(
    `${start},"method":"GET","path":"/a\\"\\\\b/:id","status":200,"durationMs":1.250,"msg":"request"}\n`,
  );
  const span = { traceId: "t", spanId: "s", isKept: true, trace: { keepReason: "error" } };
  const context = { correlationId: id, requestId: id, span, tenantId };
  const failed = { context, span, errorCode: "storage_error" } as unknown as Partial<Exchange>;
  expect(write(2, failed, { status: 500 })).toBe(
    `${start},"traceId":"t","spanId":"s","tenantId":"${tenantId}","method":"GET","path":"/a\\"\\\\b/:id","status":500,` +
      `"durationMs":2,"code":"storage_error","kept":"error","msg":"request"}\n`,
  );
});

test("the duration is that of the request, to the microsecond", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e8, noNaN: true }), (ms) => {
      const { durationMs } = JSON.parse(write(ms) as string);
      expect(Math.abs(durationMs - ms)).toBeLessThanOrEqual(0.000_500_1);
    }),
  );
});

test("nothing is put together at a level at which nothing is logged", () => {
  logging.setLevels({ default: "info", modules: { "web-api": "error" } });
  lines.length = 0;
  expect(write(1)).toBeUndefined();
  expect(logging.counts.sampledOut).toBe(0);
});

test("the routes that a sample names have one each, all others share that of the star", () => {
  const samples = new Map([
    ["/a", { linesPerSecond: 1 }],
    ["*", { linesPerSecond: 1 }],
  ]);
  const log = createAccessLog({ logging, samples });
  const written = (route: string | undefined, method = "GET"): boolean => {
    const exchange = { startedMs: 0, isBroken: false, connection: {} } as Exchange;
    log.write(exchange, log.lines(method, route), { status: 200, endMs: 1, isSlow: false });
    return lines.pop() !== undefined;
  };
  expect([written("/a"), written("/a", "POST"), written("/b"), written("/c"), written(undefined)]).toEqual([
    true,
    false,
    true,
    false,
    false,
  ]);
});

test("a share is chosen by the request's own id, and by its trace only for a caller that is trusted", () => {
  const log = createAccessLog({ logging, samples: new Map([["*", { share: 0.5 }]]) });
  const [low, high] = ["0".repeat(32), "f".repeat(32)];
  const written = (requestId: string, traceId: string, isTrusted: boolean): boolean => {
    const context = { correlationId: id, requestId: `req_${requestId}`, span: { traceId, spanId: "s" } };
    const exchange = {
      context,
      startedMs: 0,
      isBroken: false,
      connection: { isTrusted },
    } as unknown as Exchange;
    log.write(exchange, log.lines("GET", "/a"), { status: 200, endMs: 1, isSlow: false });
    return lines.pop() !== undefined;
  };
  expect([written(low, high, false), written(high, low, false)]).toEqual([false, true]);
  expect([written(low, high, true), written(high, low, true)]).toEqual([true, false]);
});
