import fc from "fast-check";
import { expect, test } from "vitest";
import { createLogging } from "./logging.ts";

function capture() {
  const lines: string[] = [];
  const log = createLogging({
    levels: { default: "trace", modules: {} },
    format: "json",
    destination: { write: (line) => void lines.push(line) },
  }).module("test");
  return { log, lines, last: () => JSON.parse(lines.at(-1) as string) };
}

const mostBytes = 65_536;

function expectSound(lines: readonly string[]): void {
  for (const line of lines) {
    expect(line.indexOf("\n")).toBe(line.length - 1);
    expect(Buffer.byteLength(line)).toBeLessThanOrEqual(mostBytes);
    expect(JSON.parse(line)).toMatchObject({ level: "info", module: "test" });
  }
}

function circular(): object {
  const one: Record<string, unknown> = { name: "one" };
  one.self = { back: [one] };
  return one;
}

const thrower = (): never => {
  throw new Error("sk-not-to-be-seen");
};
const throwingProxy = (): object =>
  new Proxy(
    {},
    {
      get: thrower,
      has: thrower,
      ownKeys: thrower,
      getPrototypeOf: thrower,
      getOwnPropertyDescriptor: thrower,
    },
  );
const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
};
function errorWithCycle(): Error {
  const inner = new Error("inner");
  const outer = new Error("outer", { cause: inner });
  inner.cause = outer;
  return outer;
}
function deep(levels: number): object {
  let value: object = { bottom: true };
  for (let level = 0; level < levels; level += 1) value = { value };
  return value;
}

const hostile: Readonly<Record<string, () => unknown>> = {
  "a circle": circular,
  "a getter that throws": () => ({
    get x() {
      return thrower();
    },
    y: 1,
  }),
  "a toJSON that throws": () => ({ toJSON: thrower }),
  "a toJSON that returns itself": () => {
    const value = { toJSON: (): unknown => value };
    return value;
  },
  "a toJSON that has no end": () => {
    const make = (): object => ({ toJSON: make });
    return make();
  },
  "a proxy that throws": throwingProxy,
  "a revoked proxy": revoked,
  "a BigInt": () => 2n ** 64n,
  "a huge BigInt": () => 2n ** 100_000n,
  "a symbol": () => Symbol("s"),
  "a function": () => thrower,
  "a huge text": () => "x".repeat(1_000_000),
  "a huge text of control characters": () => "\u0001".repeat(1_000_000),
  "a Buffer": () => Buffer.alloc(1_000_000),
  "an array of numbers": () => new Float64Array(1_000),
  "deep nesting": () => deep(10_000),
  "a huge array": () => new Array(1_000_000).fill({ text: "y".repeat(100) }),
  "a sparse array": () => new Array(4_000_000_000),
  "an object of many fields": () =>
    Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`k${n}`, n])),
  "fields of many texts": () =>
    Object.fromEntries(Array.from({ length: 90 }, (_, n) => [`k${n}`, "\u0001".repeat(8_000)])),
  "an error with a cycle": errorWithCycle,
  "an error whose message throws": () => Object.defineProperty(new Error("x"), "message", { get: thrower }),
  "an error whose message is no text": () =>
    Object.assign(new Error("x"), { message: { a: 1 }, stack: 1, code: {} }),
  "an error of errors": () => new AggregateError([new Error("a"), "b", errorWithCycle()], "many"),
  "an invalid date": () => new Date(Number.NaN),
  "lone surrogates": () => "\ud800 \udfff",
  "a __proto__ field": () => JSON.parse('{"__proto__":{"polluted":true},"x":1}'),
  "names that every object has": () =>
    JSON.parse('{"toString":"a","constructor":1,"valueOf":null,"hasOwnProperty":[]}'),
  "names of a line's own": () => ({ level: "fatal", time: 1, module: "other" }),
  "no prototype": () => Object.assign(Object.create(null), { a: 1 }),
  "a Map and a Set": () => ({
    map: new Map<unknown, unknown>([
      ["a", 1],
      [{}, 2],
      [Symbol("x"), 3],
    ]),
    set: new Set([1, [2]]),
  }),
  null: () => null,
  nothing: () => undefined,
  "not a number": () => Number.NaN,
  "what pino takes for a request": () => ({
    method: "GET",
    headers: { authorization: "x" },
    socket: throwingProxy(),
  }),
};

test.each(Object.entries(hostile))("%s makes a sound line wherever it stands", (_, make) => {
  const { log, lines } = capture();
  const any = log.info.bind(log) as (...args: unknown[]) => void;
  any(make());
  any(make(), "message");
  any({ value: make(), list: [make()] }, "message");
  any({ err: make() });
  any({ msg: make() });
  any("message %s %d %o %j", make(), make(), make(), make());
  any({}, make());
  expect(lines).toHaveLength(7);
  expectSound(lines);
  expect(lines.join("")).not.toContain("sk-not-to-be-seen");
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test("what cannot be shown is described", () => {
  const { log, last } = capture();
  log.info({
    circle: circular(),
    buffer: Buffer.alloc(12),
    date: new Date(0),
    wrong: new Date(Number.NaN),
    big: 12n,
    symbol: Symbol("s"),
    call: thrower,
    proxy: throwingProxy(),
    url: new URL("http://localhost/x"),
    map: new Map([["a", { password: "x" }]]),
    set: new Set(["b"]),
    pattern: /x/,
    boxed: Object(1),
    nothing: null,
    getter: {
      get bad() {
        return thrower();
      },
      good: 1,
    },
    level: "fatal",
  });
  expect(last()).toMatchObject({
    level: "info",
    level_: "fatal",
    circle: { name: "one", self: { back: ["[circular]"] } },
    buffer: "[Buffer of 12 bytes]",
    date: "1970-01-01T00:00:00.000Z",
    wrong: "[invalid date]",
    big: "12",
    symbol: "Symbol(s)",
    call: "[function]",
    proxy: "[unreadable]",
    url: "http://localhost/x",
    map: { a: { password: "[redacted]" } },
    set: ["b"],
    pattern: "/x/",
    boxed: 1,
    nothing: null,
    getter: { bad: "[unreadable]", good: 1 },
  });
});

test("what is cut says how much is missing, and no secret lies open at the cut", () => {
  const { log, last, lines } = capture();
  log.info({ text: "x".repeat(10_000), list: Array.from({ length: 250 }, () => 1) });
  expect(last().text).toBe(`${"x".repeat(8_192)}… [1808 more characters]`);
  expect(last().list).toHaveLength(101);
  expect(last().list.at(-1)).toBe("[150 more]");
  for (let shift = 0; shift < 30; shift += 1) {
    log.info({ text: `${"x ".repeat(4_080 + shift)}mail ada.lovelace@example.org${" x".repeat(1_000)}` });
    expect(lines.at(-1)).not.toMatch(/ada|lovelace/);
  }
});

test("no half of a secret is left at the end of a text that shrank as others were hidden", () => {
  const { log, lines } = capture();
  for (let shift = 0; shift < 30; shift += 1) {
    const many = "mail ada.lovelace.of.london@example.org ".repeat(300);
    log.info({ text: "x".repeat(shift) + many, ["y".repeat(shift) + many]: 1, err: new Error(many) });
    log.info("x".repeat(shift) + many);
  }
  expect(lines.join("")).not.toMatch(/ada|lovelace|london/);
});

test("a line that is shortened as a whole leaves no half of a secret", () => {
  const { log, lines, last } = capture();
  const large = Object.fromEntries(Array.from({ length: 4 }, (_, n) => [`k${n}`, "\u0001".repeat(8_000)]));
  for (let shift = 0; shift < 40; shift += 1) {
    log.info(large, `${"x ".repeat(110 + shift)}mail ada.lovelace@example.org${" x".repeat(3_000)}`);
    expect(last()).toMatchObject({ cutFields: 5, msg: expect.stringContaining("more characters") });
  }
  expect(lines.join("")).not.toMatch(/ada|lovelace/);
});

test("a line is no longer than any other after much was hidden in it", () => {
  const { log, lines } = capture();
  const most = Object.fromEntries(
    Array.from({ length: 90 }, (_, n) => [`k${n}`, "\u0001\u0001 a@b.cc ".repeat(500)]),
  );
  log.info({ ...most, text: "a@b.cc ".repeat(2_000) }, "a@b.cc ".repeat(1_000));
  expectSound(lines);
  const any = log.info.bind(log) as (...args: unknown[]) => void;
  any("%s %s %s %s %s %s %s %s", ...Array.from({ length: 8 }, () => "a@b.cc ".repeat(1_100)));
  expectSound(lines);
  expect(lines.join("")).not.toContain("a@b");
});

test("one object in two places is no circle", () => {
  const { log, last } = capture();
  const shared = { a: 1 };
  log.info({ one: shared, two: [shared] });
  expect(last()).toMatchObject({ one: { a: 1 }, two: [{ a: 1 }] });
});

test("an error's causes and errors are told, each with type, message, stack and code, to a depth", () => {
  const { log, last } = capture();
  let error = new Error("cause 0");
  for (let depth = 1; depth < 20; depth += 1) error = new RangeError(`cause ${depth}`, { cause: error });
  log.error({ err: error });
  let cause = last().err;
  let depth = 0;
  for (; typeof cause === "object"; cause = cause.cause) depth += 1;
  expect(depth).toBeLessThan(10);
  expect(cause).toBe("[too deep]");
  const one = Object.assign(new TypeError("one"), { code: "E_ONE", detail: "not shown" });
  log.error({ err: new AggregateError([one, "two"], "many") });
  expect(last().err).toEqual({
    type: "AggregateError",
    message: "many",
    stack: expect.stringContaining("many"),
    errors: [{ type: "TypeError", message: "one", stack: expect.any(String), code: "E_ONE" }, "two"],
  });
  log.error(errorWithCycle());
  expect(last()).toMatchObject({ msg: "outer", err: { cause: { message: "inner", cause: "[circular]" } } });
});

test("fields that are named as secrets are hidden at any depth, however they are written", () => {
  const { log, lines } = capture();
  const names = [
    "Authorization",
    "api_key",
    "apiKey",
    "X-API-Key",
    "PASSWORD",
    "set-cookie",
    "Cookie",
    "client_secret",
    "accessToken",
    "private_key",
    "token",
    "key",
    "dbPassword",
    "OPENAI_API_KEY",
    "aws-secret-access-key",
    "webhookSecret",
    "storageAccountKey",
    "x-auth-token",
  ];
  for (const name of names)
    log.info({
      [name]: "hunter2",
      a: { b: [{ c: { [name]: { inner: "hunter2" } } }] },
      map: new Map([[name, "hunter2"]]),
    });
  expect(lines.join("")).not.toContain("hunter2");
  expect(lines).toHaveLength(names.length);
});

test("what stands behind a secret's name in an array is hidden, and yes, no or nothing is shown", () => {
  const { log, last } = capture();
  log.info({
    rawHeaders: ["accept", "*/*", "Cookie", "token", "x", "y"],
    entries: [["password", "hunter2"]],
    hasPassword: true,
    password: null,
    map: new Map([["secret", false]]),
    cacheKey: "tenants",
    maxTokens: 12,
  });
  expect(last()).toMatchObject({
    rawHeaders: ["accept", "*/*", "Cookie", "[redacted]", "x", "y"],
    entries: [["password", "[redacted]"]],
    hasPassword: true,
    password: null,
    map: { secret: false },
    cacheKey: "tenants",
    maxTokens: 12,
  });
});

test("what a child has on its lines is treated like any other value", () => {
  const { log, lines, last } = capture();
  const child = log.child({ part: "pool", level: "fatal", module: "other", password: "hunter2" });
  child.child({ a: circular(), b: throwingProxy(), c: 1n, d: { token: "hunter2" } }).info("x");
  log.child(throwingProxy()).info("y");
  expect(last()).toMatchObject({ module: "test", value: "[unreadable]" });
  expectSound(lines);
  expect(JSON.parse(lines[0] as string)).toMatchObject({
    part: "pool",
    module_: "other",
    b: "[unreadable]",
    c: "1",
  });
  expect(lines.join("")).not.toContain("hunter2");
});

test("any values make a sound line", () => {
  const { log, lines } = capture();
  const any = log.info.bind(log) as (...args: unknown[]) => void;
  const value = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withTypedArray: true,
    withNullPrototype: true,
    withSparseArray: true,
    withObjectString: true,
    withBoxedValues: true,
    maxDepth: 4,
  });
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 4 }), (values) => {
      lines.length = 0;
      any(...values);
      any({ value: values });
      expect(lines).toHaveLength(2);
      expectSound(lines);
    }),
    { numRuns: 500 },
  );
});
