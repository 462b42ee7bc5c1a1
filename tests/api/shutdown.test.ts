// Stopping while requests are in progress: they end whole, new ones are told, and what takes too long is told too.
import type OpenAI from "openai";
import { afterEach, beforeEach, expect, test } from "vitest";
import { rawConnection } from "./raw-http.ts";
import { chatModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

let api: TestApi;
let tenant: TestTenant;
let closing: Promise<void> | undefined;

beforeEach(async () => {
  closing = undefined;
  api = await startApi();
  tenant = await api.makeTenant({ monthly_token_budget: 1_000_000 });
});
afterEach(async () => {
  await (closing ?? api.close());
});

const chat = { model: chatModel, messages: [{ role: "user" as const, content: "Hi" }] };
const graceMs = 10_000;

/** Begins to close the server alone, so that what it left can be looked at. */
function close(grace: number): Promise<void> {
  const done = api.server.close(grace);
  closing = done.then(() => api.close());
  return done;
}

const rows = () =>
  api.sql<{ outcome: string }>("select outcome, charged_tokens from usage where tenant_id = $1", [tenant.id]);

async function openStream(): Promise<AsyncIterator<OpenAI.ChatCompletionChunk>> {
  const stream = await tenant.client.chat.completions.create({ ...chat, stream: true });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  return chunks;
}

async function textOf(chunks: AsyncIterator<OpenAI.ChatCompletionChunk>): Promise<string> {
  let text = "";
  for (let next = await chunks.next(); !next.done; next = await chunks.next())
    text += next.value.choices[0]?.delta.content ?? "";
  return text;
}

test("lets streams and requests in progress end whole, and settles them", async () => {
  api.upstream.next({ dripMs: 100 }, { delayMs: 100 });
  const chunks = await openStream();
  const whole = tenant.client.chat.completions.create(chat);
  await expect.poll(() => api.upstream.requestCount).toBe(2);
  const done = close(graceMs);
  expect(await textOf(chunks)).toBe(", world");
  expect((await whole).choices[0]?.message.content).toBe("Hello, world");
  await done;
  expect((await rows()).map(({ outcome }) => outcome)).toEqual(["completed", "completed"]);
});

test("refuses new requests with 503 and says so when asked for its health, while it still waits", async () => {
  api.upstream.next({ delayMs: 300 });
  const whole = tenant.client.chat.completions.create(chat);
  await expect.poll(() => api.upstream.requestCount).toBe(1);
  const done = close(graceMs);
  const refused = await api.request("POST", "/v1/chat/completions", { key: tenant.key, body: chat });
  expect(refused.status).toBe(503);
  expect(refused.json.error).toMatchObject({ code: "shutting_down", type: "server_error" });
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(refused.headers.get("connection")).toBe("close");
  const ready = await api.request("GET", "/health/ready");
  expect(ready.status).toBe(503);
  expect(ready.json.status).toBe("not ready");
  expect(ready.json.checks).toContainEqual({
    name: "server",
    ok: false,
    reason: expect.stringContaining("stopping"),
  });
  expect((await api.request("GET", "/health/live")).status).toBe(200);
  await whole;
  await done;
  await expect(fetch(`${api.url}/health/live`)).rejects.toThrow();
});

test("closes at once when nothing is in progress, though connections are open", async () => {
  const idle = await rawConnection(api.url);
  idle.write("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n");
  await idle.until(/live"\}/);
  const silent = await rawConnection(api.url);
  const before = performance.now();
  await close(graceMs);
  await Promise.all([idle.closed(), silent.closed()]);
  expect(performance.now() - before).toBeLessThan(2_000);
});

test("cuts what has not ended after the grace with an error, settles it, and ends in time", async () => {
  api.upstream.next({ hang: "mid-stream" }, { hang: "before-headers" });
  const chunks = await openStream();
  const whole = tenant.client.chat.completions.create(chat);
  whole.catch(() => {});
  const [first, second] = [await api.upstream.nextRequest(), await api.upstream.nextRequest()];
  const before = performance.now();
  const done = close(100);
  await expect(textOf(chunks)).rejects.toMatchObject({ code: "shutting_down" });
  await expect(whole).rejects.toMatchObject({ status: 503, code: "shutting_down" });
  await done;
  expect(performance.now() - before).toBeLessThan(3_000);
  expect(await Promise.all([first.closed, second.closed])).toEqual([true, true]);
  expect((await rows()).map(({ outcome }) => outcome)).toEqual(["interrupted", "interrupted"]);
});

test("does not wait for a request whose body never comes", async () => {
  const connection = await rawConnection(api.url);
  connection.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n`,
  );
  await expect.poll(() => api.server.inProgress).toBe(1);
  const done = close(50);
  await connection.closed();
  await done;
  expect(await rows()).toEqual([]);
});

test("gives back the tokens that it had leased", async () => {
  await tenant.client.chat.completions.create(chat);
  await close(graceMs);
  const [budget] = await api.sql<{ spent: string; leased: string }>(
    "select spent, leased from token_spending where tenant_id = $1",
    [tenant.id],
  );
  expect(budget).toEqual({ spent: "12", leased: "0" });
});
