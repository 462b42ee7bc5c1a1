// An operator changes what is logged while the instance runs.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Answer, startApi, type TestApi } from "./start-api.ts";

let api: TestApi;

beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());
afterEach(() => levels("DELETE"));

const levels = (method: string, body?: unknown): Promise<Answer> =>
  api.request(method, "/admin/log-levels", {
    key: api.operatorKey,
    ...(body === undefined ? {} : { body }),
  });

const configured = { object: "log_levels", levels: "info", configured: "info", until: null };

test("levels are shown, changed and returned to what is configured", async () => {
  expect((await levels("GET")).json).toEqual(configured);
  const changed = await levels("PUT", { levels: "warn, database=debug" });
  expect(changed.status).toBe(200);
  expect(changed.json).toEqual({ ...configured, levels: "warn,database=debug" });
  expect((await levels("GET")).json).toEqual(changed.json);
  const { logging } = api.serverOptions;
  expect(logging.module("database").isLevelEnabled("debug")).toBe(true);
  expect(logging.module("web-api").isLevelEnabled("info")).toBe(false);
  const back = await levels("DELETE");
  expect(back.status).toBe(200);
  expect(back.json).toEqual(configured);
  expect(logging.module("database").isLevelEnabled("debug")).toBe(false);
});

test("a change for a while says when it ends", async () => {
  const before = Date.now();
  const { json } = await levels("PUT", { levels: "debug", seconds: 600 });
  const until = new Date(json.until).getTime();
  expect(until).toBeGreaterThanOrEqual(before + 600_000);
  expect(until).toBeLessThanOrEqual(Date.now() + 600_000);
  expect((await levels("PUT", { levels: "debug" })).json.until).toBeNull();
});

test("what is no level is refused with what is accepted, and changes nothing", async () => {
  for (const [body, param] of [
    [{ levels: "loud" }, "levels"],
    [{ levels: "" }, "levels"],
    [{ levels: "info,Database=debug" }, "levels"],
    [{ levels: "info", seconds: 0 }, "seconds"],
    [{ levels: "info", seconds: 86_401 }, "seconds"],
    [{ levels: "info", seconds: 1.5 }, "seconds"],
    [{ levels: "info", module: "database" }, "module"],
    [{}, "levels"],
  ] as const) {
    const { status, json } = await levels("PUT", body);
    expect(status, JSON.stringify(body)).toBe(400);
    expect(json.error, JSON.stringify(body)).toMatchObject({ code: "invalid_request", param });
  }
  expect((await levels("PUT", { levels: "loud" })).json.error.message).toContain("as in info,database=debug");
  expect((await levels("GET")).json).toEqual(configured);
});

test("only the operator sees or changes levels", async () => {
  const tenant = await api.makeTenant();
  for (const [key, status] of [
    [tenant.key, 403],
    [null, 401],
  ] as const)
    for (const [method, body] of [["GET"], ["PUT", { levels: "trace" }], ["DELETE"]] as const) {
      const answer = await api.request(method, "/admin/log-levels", {
        key,
        ...(body === undefined ? {} : { body }),
      });
      expect(answer.status, `${method} ${status}`).toBe(status);
    }
  expect((await levels("GET")).json).toEqual(configured);
});

test("each change is in the audit log with who made it", async () => {
  const { headers } = await levels("PUT", { levels: "error,jobs=trace", seconds: 60 });
  await levels("DELETE");
  const entries = await api.sql<Record<string, unknown>>(
    "select * from audit_log where target_type = 'log_levels' order by created_at desc, id desc limit 2",
    [],
  );
  expect(entries).toMatchObject([
    { action: "log_levels.reset", actor_type: "operator", actor_id: expect.any(String) },
    {
      action: "log_levels.changed",
      actor_type: "operator",
      request_id: headers.get("x-request-id"),
      details: { levels: "error,jobs=trace", seconds: 60 },
    },
  ]);
});
