import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { createLogging, type LoggingOptions } from "./logging.ts";
import { runInContext } from "./request-context.ts";

function capture(options: Partial<LoggingOptions> = {}) {
  const lines: string[] = [];
  const logging = createLogging({
    levels: { default: "info", modules: {} },
    format: "json",
    destination: { write: (line) => void lines.push(line) },
    ...options,
  });
  return { logging, lines, records: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

test("a line says when, how grave, which module and what", () => {
  const { logging, records } = capture();
  logging.module("database").info({ rows: 3 }, "done");
  const [record] = records();
  expect(record).toEqual({
    level: "info",
    time: expect.any(String),
    module: "database",
    rows: 3,
    msg: "done",
  });
  expect(new Date(record?.time as string).toISOString()).toBe(record?.time);
});

test("modules have levels of their own", () => {
  const { logging, records } = capture({ levels: { default: "warn", modules: { database: "debug" } } });
  logging.module("database").debug("seen");
  logging.module("web-api").info("not seen");
  logging.module("web-api").warn("seen too");
  expect(records().map(({ msg }) => msg)).toEqual(["seen", "seen too"]);
});

test("the same module gets the same logger", () => {
  const { logging } = capture();
  expect(logging.module("cli")).toBe(logging.module("cli"));
});

test("lines within a request carry its ids, and its tenant once known", () => {
  const { logging, records } = capture();
  const log = logging.module("web-api");
  const context = { correlationId: "c1", requestId: "r1" };
  runInContext(context, () => log.info("before"));
  runInContext({ ...context, tenantId: "t1" }, () => log.info("after"));
  log.info("outside");
  const [before, after, outside] = records();
  expect(before).toMatchObject({ correlationId: "c1", requestId: "r1" });
  expect(before).not.toHaveProperty("tenantId");
  expect(after).toMatchObject({ tenantId: "t1" });
  expect(outside).not.toHaveProperty("correlationId");
});

test("fields that hold credentials are redacted wherever they stand", () => {
  const { logging, lines } = capture();
  logging.module("web-api").info({
    apiKey: "sk-secret-1",
    request: { headers: { authorization: "Bearer sk-secret-2" }, password: "sk-secret-3" },
    headers: { authorization: "Bearer sk-secret-4" },
    provider: { apiKey: "sk-secret-5" },
  });
  expect(lines.join("")).not.toContain("sk-secret");
  expect(lines.join("")).toContain("[redacted]");
});

test("errors are logged with type, message, stack and code", () => {
  const { logging, records } = capture();
  logging.module("cli").error({ err: Object.assign(new Error("bad"), { code: "E1" }) }, "failed");
  expect(records()[0]?.err).toMatchObject({
    type: "Error",
    message: "bad",
    code: "E1",
    stack: expect.any(String),
  });
});

test("an error's other fields, which may quote data, are not logged", () => {
  const { logging, lines } = capture();
  const refused = Object.assign(new Error("duplicate key"), {
    detail: "Key (email)=(ada@example.org) exists",
  });
  logging.module("database").error({ err: new Error("failed", { cause: refused }) });
  logging.module("database").error({ err: refused });
  logging.module("database").error(refused);
  logging.module("database").error({ reason: refused, tries: [{ error: refused }] });
  expect(lines.join("")).not.toContain("ada@example.org");
  expect(lines.join("")).toContain("duplicate key");
});

test("what was thrown and is no error is logged too, without its secrets", () => {
  const { logging, records } = capture();
  logging.module("cli").error({ err: "just a text" });
  logging.module("cli").error({ err: { password: "hunter2", reason: "no" } });
  expect(records().map(({ err }) => err)).toEqual(["just a text", { password: "[redacted]", reason: "no" }]);
});

test("flush to a pipe resolves, though a pipe cannot be synchronized", async () => {
  const script = `
    import { createLogging } from ${JSON.stringify(import.meta.resolve("./logging.ts"))};
    const logging = createLogging({ levels: { default: "info", modules: {} }, format: "json" });
    logging.module("cli").info("line");
    await logging.flush();
    process.stderr.write("flushed");`;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    "--input-type=module",
    "-e",
    script,
  ]);
  expect(stdout).toContain('"msg":"line"');
  expect(stderr).toBe("flushed");
});

test("flush resolves when lines have left", async () => {
  const { logging } = capture();
  logging.module("cli").info("last words");
  await expect(logging.flush()).resolves.toBeUndefined();
});
