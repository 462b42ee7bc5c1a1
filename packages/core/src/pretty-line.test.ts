import { expect, test } from "vitest";
import { createLogging } from "./logging.ts";
import { runInContext } from "./request-context.ts";

function capture() {
  const lines: string[] = [];
  const logging = createLogging({
    levels: { default: "info", modules: {} },
    format: "pretty",
    destination: { write: (line) => void lines.push(line) },
  });
  return { logging, log: logging.module("web-api"), lines };
}

test("a line for people has time, level, module, message, fields and short ids", () => {
  const { log, lines, logging } = capture();
  const requestId = `req_${"0".repeat(24)}1a2b3c4d`;
  runInContext({ correlationId: requestId, requestId, tenantId: "tenant-1" }, () =>
    log.info({ rows: 3, path: "/v1" }, "done"),
  );
  expect(lines[0]).toMatch(
    /^\d\d:\d\d:\d\d\.\d{3} INFO {2}web-api done rows=3 path=\/v1 request=…1a2b3c4d tenant=…tenant-1\n$/,
  );
  runInContext({ correlationId: "order-17", requestId }, () => log.warn("x"));
  expect(lines[1]).toContain("correlation=order-17");
  logging.writeLine("info", '{"level":"info","time":"2026-11-24T19:32:42.123Z","module":"m","msg":"made"}\n');
  expect(lines[2]).toBe("19:32:42.123 INFO  m made\n");
});

test("nothing in a line can steer a terminal or begin a line of its own", () => {
  const { log, lines } = capture();
  const evil = "\u001b[2J\u009b31m\r\nfake \u202e\u2028x";
  log.error({ [evil]: evil, nested: { evil }, err: Object.assign(new Error(evil), { code: evil }) }, evil);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  expect(lines.join("")).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e\u2028]/);
  for (const line of (lines[0] as string).split("\n").slice(1, -1)) expect(line).toMatch(/^ {4}/);
});

test("an error is told with its stack and causes below the line", () => {
  const { log, lines } = capture();
  log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed");
  expect(lines[0]).toMatch(/failed\n {4}Error: outer\n {8}at [\s\S]*caused by:\n {4}Error: inner\n/);
});
