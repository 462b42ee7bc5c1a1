import { execFile } from "node:child_process";
import { stat } from "node:fs";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { expect, test, vi } from "vitest";
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

test("levels change while it runs, also of loggers that were made before and of their children", () => {
  const { logging, records } = capture();
  const log = logging.module("database");
  const child = log.child({ part: "pool" });
  logging.setLevels({ default: "warn", modules: { database: "debug" } });
  log.debug("seen");
  child.debug("seen, too");
  logging.module("made later").info("not seen");
  logging.setLevels(undefined);
  child.debug("not seen");
  logging.module("made later").info("seen in the end");
  const own = records().filter(({ module }) => module === "logging");
  expect(own.map(({ levels }) => levels)).toEqual(["warn,database=debug", "info"]);
  const others = records().filter(({ module }) => module !== "logging");
  expect(others.map(({ msg }) => msg)).toEqual(["seen", "seen, too", "seen in the end"]);
  expect(others[1]).toMatchObject({ module: "database", part: "pool" });
});

test("levels for a while end by themselves, after a day at most", () => {
  vi.useFakeTimers();
  try {
    const { logging, records } = capture();
    const log = logging.module("cli");
    logging.setLevels({ default: "debug", modules: {} }, 60_000);
    expect(logging.levelsUntil).toEqual(new Date(Date.now() + 60_000));
    vi.advanceTimersByTime(59_999);
    expect(log.isLevelEnabled("debug")).toBe(true);
    vi.advanceTimersByTime(1);
    expect(log.isLevelEnabled("debug")).toBe(false);
    expect(logging.levelsUntil).toBeUndefined();
    expect(logging.levels).toBe(logging.configuredLevels);
    expect(records()).toHaveLength(2);
    logging.setLevels({ default: "debug", modules: {} }, Number.MAX_SAFE_INTEGER);
    vi.advanceTimersByTime(24 * 60 * 60_000);
    expect(log.isLevelEnabled("debug")).toBe(false);
    logging.setLevels({ default: "debug", modules: {} }, 1_000);
    logging.setLevels({ default: "trace", modules: {} });
    vi.advanceTimersByTime(2_000);
    expect(log.isLevelEnabled("trace")).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});

test("a time that is none changes no level", () => {
  const { logging, records } = capture();
  for (const forMs of [0, -1, Number.NaN])
    for (const levels of [{ default: "trace", modules: {} } as const, undefined])
      expect(() => logging.setLevels(levels, forMs)).toThrow(RangeError);
  expect(logging.levels.default).toBe("info");
  expect(records()).toEqual([]);
  logging.setLevels({ default: "debug", modules: {} }, Number.POSITIVE_INFINITY);
  expect(logging.levelsUntil?.getTime()).toBeLessThanOrEqual(Date.now() + 24 * 60 * 60_000);
  logging.setLevels(undefined);
});

test("levels that are configured anew are those to return to", () => {
  const { logging } = capture();
  logging.configureLevels({ default: "warn", modules: {} });
  logging.setLevels({ default: "trace", modules: {} });
  logging.setLevels(undefined);
  expect(logging.levels.default).toBe("warn");
});

test("lines are counted by level when they are taken, and as dropped when not", () => {
  let takes = true;
  const { logging } = capture({ destination: { write: () => takes } });
  const log = logging.module("cli");
  log.info("one");
  log.debug("not enabled");
  log.error("two");
  logging.writeLine("info", '{"level":"info"}\n');
  logging.sampledOut();
  takes = false;
  log.info("lost");
  expect(logging.counts).toEqual({
    lines: { trace: 0, debug: 0, info: 2, warn: 0, error: 1, fatal: 0 },
    sampledOut: 1,
    dropped: 1,
  });
});

test("the context is on lines from timers, promises and streams, and of no other work", async () => {
  const { logging, records } = capture();
  const log = logging.module("cli");
  const work = (requestId: string) =>
    runInContext({ correlationId: `c-${requestId}`, requestId }, async () => {
      await new Promise<void>((resolve) => {
        setTimeout(() => {
          log.info({ of: requestId }, "timer");
          resolve();
        }, 1);
      });
      for await (const part of Readable.from(["a", "b"])) log.info({ of: requestId, part }, "stream");
      await new Promise<void>((resolve) => {
        stat("/", () => {
          log.info({ of: requestId }, "thread");
          resolve();
        });
      });
    });
  await Promise.all(["r1", "r2", "r3"].map(work));
  expect(records()).toHaveLength(12);
  for (const record of records())
    expect(record).toMatchObject({ requestId: record.of, correlationId: `c-${record.of}` });
});

test("secrets and personal data are hidden in messages, fields, names, errors, causes and stacks", () => {
  const { logging, lines, records } = capture();
  const log = logging.module("cli");
  const email = "ada@example.org";
  log.info(`mail to ${email}`);
  log.info({ [email]: [email, { email }], card: 4111111111111111 }, "%s", email);
  log.info({ err: new Error(email, { cause: new AggregateError([new Error(email)], email) }) });
  log.child({ email }).info("x");
  log.error(new Error(email));
  expect(lines.join("")).not.toMatch(/ada|4111/);
  expect(records()).toHaveLength(5);
});
