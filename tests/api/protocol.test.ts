// HTTP itself: methods, headers, connections, health, and what is in the log.
import { toFile } from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rawConnection } from "./raw-http.ts";
import { chatModel, embeddingModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

let api: TestApi;
let tenant: TestTenant;

beforeAll(async () => {
  api = await startApi({ logLevel: "trace" });
  tenant = await api.makeTenant();
});
afterAll(() => api.close());

const chat = { model: chatModel, messages: [{ role: "user" as const, content: "Hi" }] };

describe("answers", () => {
  test("to HEAD are those to GET without a body", async () => {
    for (const path of ["/v1/models", "/health/live", `/v1/models/${chatModel}`, "/v1/files"]) {
      const got = await api.request("GET", path, { key: tenant.key });
      const head = await api.request("HEAD", path, { key: tenant.key });
      expect(head.status, path).toBe(got.status);
      expect(head.text, path).toBe("");
      expect(head.headers.get("content-length"), path).toBe(got.headers.get("content-length"));
      expect(head.headers.get("content-type"), path).toBe(got.headers.get("content-type"));
    }
  });

  test("allow no other site's scripts: there is no CORS, since a key does not belong into a page", async () => {
    const preflight = await api.request("OPTIONS", "/v1/chat/completions", {
      headers: { origin: "https://example.com", "access-control-request-method": "POST" },
    });
    expect(preflight.status).toBe(405);
    const answer = await api.request("GET", "/v1/models", {
      key: tenant.key,
      headers: { origin: "https://example.com" },
    });
    for (const { headers } of [preflight, answer])
      expect([...headers.keys()].filter((name) => name.startsWith("access-control-"))).toEqual([]);
  });

  test("are not compressed, which would hold streams back and make secrets guessable by length", async () => {
    const answer = await api.request("GET", "/v1/models", {
      key: tenant.key,
      headers: { "accept-encoding": "gzip, br, zstd" },
    });
    expect(answer.headers.get("content-encoding")).toBeNull();
  });

  test("carry a request id of their own, streams and errors among them", async () => {
    const answers = await Promise.all([
      api.request("POST", "/v1/chat/completions", { key: tenant.key, body: chat }),
      api.request("POST", "/v1/chat/completions", { key: tenant.key, body: { ...chat, stream: true } }),
      api.request("POST", "/v1/chat/completions", { key: tenant.key, body: "{" }),
      api.request("GET", "/v1/models"),
      api.request("GET", "/nowhere"),
      api.request("GET", "/v1/models/%zz"),
      api.request("GET", "/health/live"),
      api.request("GET", "/docs/json"),
    ]);
    const ids = answers.map(({ headers }) => headers.get("x-request-id"));
    for (const id of ids) expect(id).toMatch(/^req_[0-9a-f]{32}$/);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("of a stream are told to be passed on at once", async () => {
    const { headers } = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: { ...chat, stream: true },
    });
    expect(headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(headers.get("cache-control")).toBe("no-cache, no-transform");
    expect(headers.get("x-accel-buffering")).toBe("no");
  });

  test("that refuse leave the connection usable, whether the body was read or not", async () => {
    const connection = await rawConnection(api.url);
    const body = JSON.stringify(chat);
    const post = (key: string, text: string) =>
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
    connection.write(post("sk-wrong", body));
    await connection.until(/invalid_api_key/);
    connection.write(post(tenant.key, "{broken"));
    await connection.until(/invalid_json/);
    connection.write(post(tenant.key, '{"model":1}'));
    await connection.until(/invalid_request/);
    // A body that comes after its refusal is read and dropped.
    connection.write(post("sk-wrong", body).slice(0, -20));
    await connection.until(/invalid_api_key.*invalid_api_key/s);
    connection.write(post("", body).slice(-20) + post(tenant.key, body));
    await connection.until(/Hello, world/);
    connection.socket.destroy();
  });

  test("say that the connection is closed when the client asked for it, errors too", async () => {
    const body = "{broken";
    for (const request of [
      "GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
      "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
      `POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    ]) {
      const connection = await rawConnection(api.url);
      connection.write(request);
      expect(await connection.closed()).toMatch(/^connection: close\r$/im);
    }
  });

  test("come in order when requests are pipelined", async () => {
    const connection = await rawConnection(api.url);
    const get = (path: string) =>
      `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\n\r\n`;
    connection.write(get("/v1/models") + get("/health/live") + get("/nowhere"));
    const text = await connection.until(/unknown_url/);
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual([
      "200",
      "200",
      "404",
    ]);
    connection.socket.destroy();
  });

  test("to a DELETE ignore a content type without a body, which some clients send", async () => {
    const { id } = await tenant.client.chat.completions.create({ ...chat, store: true });
    const answer = await api.request("DELETE", `/v1/chat/completions/${id}`, {
      key: tenant.key,
      headers: { "content-type": "application/json" },
    });
    expect(answer.json).toMatchObject({ id, deleted: true });
  });

  test("ignore a slash at the end of a URL", async () => {
    expect((await api.request("GET", "/v1/models/", { key: tenant.key })).status).toBe(200);
  });

  test("know a key by 'Bearer' in any case and by nothing else", async () => {
    const status = async (authorization: string) =>
      (await api.request("GET", "/v1/models", { headers: { authorization } })).status;
    expect(await status(`bearer ${tenant.key}`)).toBe(200);
    expect(await status(`BEARER  ${tenant.key} `)).toBe(200);
    for (const header of [
      tenant.key,
      `Basic ${tenant.key}`,
      `Bearer ${tenant.key} x`,
      "Bearer",
      `Bearer ${tenant.key}, Bearer x`,
    ])
      expect(await status(header), header).toBe(401);
    const inUrl = await api.request("GET", `/v1/models?api_key=${tenant.key}&key=${tenant.key}`);
    expect(inUrl.status).toBe(401);
  });
});

describe("health", () => {
  test("is live and ready, and asks for no key", async () => {
    expect((await api.request("GET", "/health/live")).json).toEqual({ status: "live" });
    expect((await api.request("GET", "/health/ready")).json).toEqual({
      status: "ready",
      checks: [
        { name: "server", ok: true },
        { name: "database", ok: true },
      ],
    });
  });
});

test("no line of the log has a key, a body, a prompt, an answer, an e-mail address or a file's name", async () => {
  const secrets = [
    "prompt-4f1c",
    "answer-9b2e",
    "metadata-77aa",
    "person@example.com",
    "private-name-31.txt",
    "contents-of-the-file",
    "embedding-input-5d",
    "secret-query",
    tenant.key,
    tenant.key.slice(3),
    api.operatorKey,
    "sk-of-the-upstream",
  ];
  const { client, key } = tenant;
  const messages = [{ role: "user" as const, content: "prompt-4f1c" }];
  const body = {
    model: chatModel,
    messages,
    store: true,
    user: "person@example.com",
    metadata: { note: "metadata-77aa" },
  };
  api.upstream.always({ content: ["answer-", "9b2e"] });
  const before = api.logLines.length;
  const { id } = await client.chat.completions.create(body);
  await client.chat.completions.stream(body).finalChatCompletion();
  await client.chat.completions.retrieve(id);
  await client.chat.completions.update(id, { metadata: { note: "metadata-77aa" } });
  await client.chat.completions.list({ metadata: { note: "metadata-77aa" } });
  await client.chat.completions.messages.list(id);
  await client.chat.completions.delete(id);
  await client.embeddings.create({ model: embeddingModel, input: "embedding-input-5d" });
  const file = await client.files.create({
    file: await toFile(Buffer.from("contents-of-the-file"), "private-name-31.txt"),
    purpose: "user_data",
  });
  await client.files.content(file.id);
  await client.files.list();
  await client.files.delete(file.id);
  await client.models.list();
  const send = (path: string, sent: unknown) => api.request("POST", path, { key, body: sent });
  await send("/v1/chat/completions", '{"messages": "prompt-4f1c" broken');
  await send("/v1/chat/completions", { ...body, temperature: 99, user: 7 });
  await send("/v1/chat/completions", { ...body, messages: [{ role: "prompt-4f1c" }] });
  await send("/v1/chat/completions", { ...body, model: "prompt-4f1c" });
  await send("/v1/nowhere?q=secret-query", body);
  await api.request("GET", "/v1/files?after=secret-query", { key });
  await api.request("GET", "/v1/models/secret-query", { key });
  await api.request("GET", "/v1/models", { key: `${key.slice(0, -3)}abc` });
  await api.request("POST", "/admin/tenants", { key: api.operatorKey, body: { name: "person@example.com" } });
  for (const behavior of [
    { status: 500, errorMessage: "prompt-4f1c with sk-of-the-upstream" },
    { status: 400, errorMessage: "prompt-4f1c" },
    { status: 401, errorMessage: "sk-of-the-upstream" },
    { raw: "prompt-4f1c" },
    { truncate: true },
  ]) {
    api.upstream.next(behavior);
    await send("/v1/chat/completions", body);
    api.upstream.next(behavior);
    await send("/v1/chat/completions", { ...body, stream: true });
  }
  const connection = await rawConnection(api.url);
  connection.write(`POST prompt-4f1c ${key}\r\nauthorization: Bearer ${key}\r\n\r\n`);
  await connection.closed();
  // The database quotes what it could not store.
  await api.sql("alter table messages add constraint refused check (false) not valid");
  expect((await send("/v1/chat/completions", body)).status).toBe(500);
  await send("/v1/chat/completions", { ...body, stream: true });
  await api.sql("alter table messages drop constraint refused");

  const lines = api.logLines.slice(before);
  expect(lines.length).toBeGreaterThan(30);
  for (const line of lines) {
    expect(JSON.parse(line)).toMatchObject({ time: expect.any(String), level: expect.any(String) });
    for (const secret of secrets) expect(line).not.toContain(secret);
  }
  const access = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "request");
  for (const line of access) {
    expect(line).toMatchObject({
      module: "web-api",
      method: expect.any(String),
      path: expect.stringMatching(/^(unmatched|\/[\w/:*-]*)$/),
      status: expect.any(Number),
      durationMs: expect.any(Number),
      requestId: expect.any(String),
      correlationId: expect.any(String),
    });
  }
  expect(
    access
      .filter(({ path }) => path === "/v1/chat/completions")
      .every(({ tenantId }) => tenantId === tenant.id),
  ).toBe(true);
});
