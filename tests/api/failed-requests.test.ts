// What the service's objective counts as failed: whatever a customer sees as a failure is counted exactly once, as an
// error or as a broken answer, and nothing else is.
import { createInstruments, Registry } from "@ectus/monitoring";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Behavior } from "../openai-upstream/behavior.ts";
import { until } from "../postgres/until.ts";
import { rawConnection } from "./raw-http.ts";
import { chatModel, embeddingModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

const registry = new Registry();
let api: TestApi;
let tenant: TestTenant;

beforeAll(async () => {
  api = await startApi({
    instruments: createInstruments(registry),
    streamIdleTimeoutMs: 300,
    timeoutMs: 500,
  });
  tenant = await api.makeTenant();
});
afterAll(() => api.close());
beforeEach(() => registry.resetMetrics());

async function total(name: string): Promise<number> {
  const lines = (await registry.metrics()).split("\n").filter((line) => line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** The counts of one request, when it is over. */
async function counts(): Promise<{ readonly errors: number; readonly broken: number }> {
  await until(async () => (await total("http_requests_total")) === 1);
  return {
    errors: await total("http_request_errors_total"),
    broken: await total("http_responses_broken_total"),
  };
}

const chat = { model: chatModel, messages: [{ role: "user", content: "Hi" }] };
const ask = (body: object, path = "/v1/chat/completions") =>
  api.request("POST", path, { key: tenant.key, body });

describe("counted once", () => {
  test.each<[string, Behavior]>([
    ["fails", { status: 500 }],
    ["rejects us", { status: 401 }],
    ["cuts the connection", { reset: "before-headers" }],
    ["never answers", { hang: "before-headers" }],
    ["breaks off in the body", { truncate: true }],
    ["answers with what is no answer", { raw: "{}", contentType: "application/json" }],
  ])("is a chat whose provider %s, as an error", async (_, behavior) => {
    api.upstream.next(behavior);
    expect((await ask(chat)).status).toBeGreaterThanOrEqual(500);
    expect(await counts()).toEqual({ errors: 1, broken: 0 });
  });

  test("is an embedding that fails, as an error", async () => {
    api.upstream.next({ status: 500 });
    expect((await ask({ model: embeddingModel, input: "Hi" }, "/v1/embeddings")).status).toBe(502);
    expect(await counts()).toEqual({ errors: 1, broken: 0 });
  });

  test("is a stream that fails before its 200, as an error", async () => {
    api.upstream.next({ status: 500 });
    expect((await ask({ ...chat, stream: true })).status).toBe(502);
    expect(await counts()).toEqual({ errors: 1, broken: 0 });
  });

  test.each<[string, Behavior]>([
    ["cuts the connection", { reset: "mid-stream" }],
    ["falls silent", { hang: "mid-stream" }],
    ["ends without an end", { truncate: true }],
    ["sends an error event", { errorEvent: { as: "event", message: "no more" } }],
  ])("is a stream whose provider %s after its 200, as a broken one", async (_, behavior) => {
    api.upstream.next(behavior);
    const { status, text } = await ask({ ...chat, stream: true });
    expect(status).toBe(200);
    expect(text).not.toContain("[DONE]");
    expect(await counts()).toEqual({ errors: 0, broken: 1 });
  });

  test("is a stream or an answer whose settlement fails", async () => {
    await api.sql("alter table usage add constraint refused check (false) not valid");
    try {
      expect((await ask({ ...chat, stream: true })).text).toContain("internal_error");
      expect(await counts()).toEqual({ errors: 0, broken: 1 });
      registry.resetMetrics();
      expect((await ask(chat)).status).toBe(500);
      expect(await counts()).toEqual({ errors: 1, broken: 0 });
    } finally {
      await api.sql("alter table usage drop constraint refused");
    }
  });
});

describe("not counted", () => {
  test.each([
    ["an answer", { ...chat }, 200],
    ["a whole stream", { ...chat, stream: true }, 200],
    ["a request that is refused", { ...chat, model: "no-such-model" }, 404],
  ])("is %s", async (_, body, status) => {
    expect((await ask(body)).status).toBe(status);
    expect(await counts()).toEqual({ errors: 0, broken: 0 });
  });

  test("is a stream whose client leaves", async () => {
    api.upstream.next({ hang: "mid-stream" });
    const client = await rawConnection(api.url);
    const text = JSON.stringify({ ...chat, stream: true });
    client.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tenant.key}\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    );
    await client.until(/data: /);
    client.socket.resetAndDestroy();
    expect(await counts()).toEqual({ errors: 0, broken: 0 });
  });
});
