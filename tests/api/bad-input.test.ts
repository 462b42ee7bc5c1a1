// What clients get wrong, by mistake or on purpose: each has its status, code and message in OpenAI's shape.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAnswer, rawConnection } from "./raw-http.ts";
import {
  type Answer,
  chatModel,
  embeddingModel,
  startApi,
  type TestApi,
  type TestTenant,
} from "./start-api.ts";

let api: TestApi;
let tenant: TestTenant;

beforeAll(async () => {
  api = await startApi({ maxFileBytes: 1024 * 1024 });
  tenant = await api.makeTenant();
});
afterAll(() => api.close());

const messages = [{ role: "user", content: "Hi" }];
const chat = { model: chatModel, messages };
const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  api.request("POST", path, { key: tenant.key, body, headers });
const postChat = (body: unknown, headers?: Record<string, string>): Promise<Answer> =>
  post("/v1/chat/completions", body, headers);
const get = (path: string): Promise<Answer> => api.request("GET", path, { key: tenant.key });

function expectError(answer: Answer, status: number, error: object): void {
  expect(answer.json, answer.text).toEqual({
    error: {
      message: expect.any(String),
      type: expect.any(String),
      param: null,
      code: expect.any(String),
      ...error,
    },
  });
  expect(answer.status).toBe(status);
  expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
  expect(answer.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
}

describe("a body", () => {
  test("that is not JSON is refused with the place, and without a quotation of it", async () => {
    const answer = await postChat('{"model": "secret prompt text" "messages"}');
    expectError(answer, 400, { code: "invalid_json" });
    expect(answer.json.error.message).toContain("at position");
    expect(answer.text).not.toContain("secret");
    expectError(await postChat('{"model":'), 400, { code: "invalid_json" });
    expectError(await postChat("\u{feff}nothing"), 400, { code: "invalid_json" });
  });

  test("that is empty is refused", async () => {
    expectError(await postChat(""), 400, { code: "invalid_json" });
    const without = await api.request("POST", "/v1/chat/completions", { key: tenant.key });
    expectError(without, 400, { code: "invalid_request" });
  });

  test("that would change prototypes is refused", async () => {
    const proto = `{"model":"${chatModel}","messages":[],"__proto__":{"polluted":true}}`;
    expectError(await postChat(proto), 400, { code: "invalid_json" });
    const viaConstructor = `{"model":"${chatModel}","constructor":{"prototype":{"polluted":true}}}`;
    expectError(await postChat(viaConstructor), 400, { code: "invalid_json" });
    expect({}).not.toHaveProperty("polluted");
  });

  test("that is no object is refused", async () => {
    for (const body of ["[]", "null", "7", '"text"', "true"]) {
      expectError(await postChat(body), 400, { code: "invalid_request" });
    }
  });

  test("that is nested 100,000 levels deep is refused", async () => {
    const deep = `{"model":"${chatModel}","messages":[{"role":"user","content":"x"}],"x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
    expectError(await postChat(deep), 400, { code: "invalid_json" });
    const objects = `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`;
    expectError(await postChat(objects), 400, { code: "invalid_json" });
    // What is used for schemas of tools stays far below the bound.
    const tools = [{ type: "function", function: JSON.parse(`${'{"a":'.repeat(100)}1${"}".repeat(100)}`) }];
    expect((await postChat({ ...chat, tools, store: true })).status).toBe(200);
  });

  test("of another content type is refused", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/xml", "text/json"]) {
      const answer = await postChat(JSON.stringify(chat), { "content-type": type });
      expectError(answer, 415, { code: "unsupported_media_type" });
      expect(answer.json.error.message).toContain("application/json");
    }
    expect((await postChat(chat, { "content-type": "application/json; charset=utf-8" })).status).toBe(200);
    const multipart = await postChat("--x--", { "content-type": "multipart/form-data; boundary=x" });
    expect(multipart.status).toBe(400);
  });

  test("that is too large is refused, whether it says so or not, and the connection can be used again", async () => {
    const size = 16 * 1024 * 1024 + 1;
    const head = (length: string) =>
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\n${length}\r\n\r\n`;
    const declared = await rawConnection(api.url);
    declared.write(head(`content-length: ${size}`));
    const refused = parseAnswer(await declared.until(/request_too_large/));
    expect(refused.status).toBe(413);
    expect(JSON.parse(refused.body).error).toMatchObject({
      code: "request_too_large",
      message: expect.stringContaining("16777216"),
    });
    // Who sends more than a little of it after that is cut.
    const junk = Buffer.alloc(256 * 1024, "x");
    const pump = (error?: Error | null): void => {
      if (error == null && !declared.socket.destroyed) declared.socket.write(junk, pump);
    };
    pump();
    await declared.closed();
    expect(declared.socket.bytesWritten).toBeLessThan(12 * 1024 * 1024);

    const chunked = await rawConnection(api.url);
    chunked.write(head("transfer-encoding: chunked"));
    const piece = Buffer.concat([
      Buffer.from(`${(64 * 1024).toString(16)}\r\n`),
      Buffer.alloc(64 * 1024, " "),
      Buffer.from("\r\n"),
    ]);
    for (let sent = 0; sent <= size; sent += 64 * 1024) chunked.write(piece);
    await chunked.until(/request_too_large/);
    chunked.write("0\r\n\r\nGET /health/live HTTP/1.1\r\nhost: x\r\n\r\n");
    await chunked.until(/"status":"live"/);
    chunked.socket.destroy();
  });

  test("that is shorter than it says is waited for, and dropped when the client leaves", async () => {
    const connection = await rawConnection(api.url);
    connection.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"model"`,
    );
    connection.socket.end();
    const answer = parseAnswer(await connection.closed());
    expect(answer.status).toBe(400);
    expect((await get("/v1/models")).status).toBe(200);
  });

  test("names the field that is at fault, as a client writes it", async () => {
    const cases: [object, string, string][] = [
      [{ messages }, "model", "it is missing"],
      [{ model: chatModel }, "messages", "it is missing"],
      [{ ...chat, model: 7 }, "model", "must be string"],
      [{ ...chat, messages: [] }, "messages", "fewer than 1"],
      [{ ...chat, messages: [{ content: "x" }] }, "messages[0].role", "it is missing"],
      [{ ...chat, messages: [{ role: "robot" }] }, "messages[0].role", '"assistant"'],
      [
        { ...chat, messages: [{ role: "user", content: 7 }] },
        "messages[0].content",
        "string or array or null",
      ],
      [{ ...chat, messages: [{ role: "user", content: [{}] }] }, "messages[0].content[0].type", "missing"],
      [{ ...chat, stream: "yes" }, "stream", "boolean or null"],
      [{ ...chat, max_tokens: 0 }, "max_tokens", ">= 1"],
      [{ ...chat, max_tokens: 1e300 }, "max_tokens", "<= 2147483647"],
      [{ ...chat, max_completion_tokens: 1.5 }, "max_completion_tokens", "integer or null"],
      [{ ...chat, max_tokens: 5, max_completion_tokens: 6 }, "max_tokens", "not both"],
      [{ ...chat, temperature: 2.1 }, "temperature", "<= 2"],
      [{ ...chat, n: 129 }, "n", "<= 128"],
      [{ ...chat, stop: ["a", "b", "c", "d", "e"] }, "stop", "more than 4"],
      [{ ...chat, metadata: { key: "x".repeat(513) } }, "metadata.key", "512"],
      [{ ...chat, metadata: { key: 7 } }, "metadata.key", "must be string"],
      [{ ...chat, response_format: { type: "json_schema" } }, "response_format.json_schema", "missing"],
      [
        { ...chat, response_format: { type: "xml" } },
        "response_format.type",
        '"text", "json_object", "json_schema"',
      ],
      [{ ...chat, user: "x".repeat(513) }, "user", "512"],
      [{ ...chat, safety_identifier: "x".repeat(513) }, "safety_identifier", "512"],
    ];
    for (const [body, param, message] of cases) {
      const answer = await postChat(body);
      expectError(answer, 400, { code: "invalid_request", param });
      expect(answer.json.error.message).toContain(message);
    }
    const embeddings: [object, string][] = [
      [{ input: "x" }, "model"],
      [{ model: embeddingModel }, "input"],
      [{ model: embeddingModel, input: "" }, "input"],
      [{ model: embeddingModel, input: [] }, "input"],
      [{ model: embeddingModel, input: "x", encoding_format: "hex" }, "encoding_format"],
      [{ model: embeddingModel, input: "x", dimensions: 1e300 }, "dimensions"],
    ];
    for (const [body, param] of embeddings) {
      expectError(await post("/v1/embeddings", body), 400, { code: "invalid_request", param });
    }
  });
});

describe("text that cannot be stored", () => {
  const nul = "a\u0000b";
  const half = "a\ud800b";

  test("is refused by name before a model is asked", async () => {
    const asked = api.upstream.requestCount;
    for (const [text, character] of [
      [nul, "U+0000"],
      [half, "half of a surrogate pair"],
    ] as const) {
      const cases: [object, string][] = [
        [{ messages: [{ role: "user", content: text }] }, "messages[0].content"],
        [{ messages: [{ role: "user", content: [{ type: "text", text }] }] }, "messages[0].content[0].text"],
        [{ metadata: { order: text } }, "metadata.order"],
        [{ metadata: { [text]: "x" } }, "metadata"],
        [{ user: text }, "user"],
        [{ stop: text }, "stop"],
        [{ anything: { deep: [text] } }, "anything.deep[0]"],
        [{ [text]: 1 }, "*"],
      ];
      for (const [more, param] of cases) {
        const answer = await postChat({ ...chat, store: true, ...more });
        expectError(answer, 400, { code: "invalid_text", param: param === "*" ? null : param });
        expect(answer.json.error.message).toContain(character);
      }
    }
    expect(api.upstream.requestCount).toBe(asked);
  });

  test("is refused where it is more than can be stored beside the messages, which may be long", async () => {
    const long = "x".repeat(1024 * 1024);
    const asked = api.upstream.requestCount;
    const answer = await postChat({ ...chat, store: true, anything: long });
    expectError(answer, 400, { code: "invalid_request", param: "store" });
    expect(api.upstream.requestCount).toBe(asked);
    const messages = [{ role: "user", content: long }];
    expect((await postChat({ ...chat, store: true, messages })).status).toBe(200);
    expect((await postChat({ ...chat, anything: long })).status).toBe(200);
  });

  test("passes where nothing is stored", async () => {
    expect((await postChat({ ...chat, messages: [{ role: "user", content: nul }] })).status).toBe(200);
    expect(api.upstream.requests.at(-1)?.body.messages).toEqual([{ role: "user", content: nul }]);
  });

  test("is refused in what the operator names", async () => {
    const admin = (method: string, path: string, body: object) =>
      api.request(method, path, { key: api.operatorKey, body });
    expectError(await admin("POST", "/admin/tenants", { name: nul }), 400, {
      code: "invalid_text",
      param: "name",
    });
    expectError(await admin("PATCH", `/admin/tenants/${tenant.id}`, { name: half }), 400, {
      code: "invalid_text",
      param: "name",
    });
    expectError(await admin("POST", `/admin/tenants/${tenant.id}/keys`, { name: nul }), 400, {
      code: "invalid_text",
      param: "name",
    });
  });

  test("is refused in filters and metadata of stored completions", async () => {
    expectError(await get("/v1/chat/completions?metadata[x]=%00"), 400, {
      code: "invalid_text",
      param: "metadata.x",
    });
    expectError(await get("/v1/chat/completions?model=%00"), 400, { code: "invalid_text", param: "model" });
    expectError(await get("/v1/files?purpose=%00"), 400, { code: "invalid_text", param: "purpose" });
    const { json } = await postChat({ ...chat, store: true });
    expectError(await post(`/v1/chat/completions/${json.id}`, { metadata: { x: nul } }), 400, {
      code: "invalid_text",
      param: "metadata.x",
    });
  });

  test("is replaced and marked where a model wrote it", async () => {
    for (const [content, stored] of [
      [nul, "a\ufffdb"],
      [half, "a\ufffdb"],
    ] as const) {
      api.upstream.next({ content: [content] });
      const { json } = await postChat({ ...chat, store: true });
      expect(json.choices[0].message.content).toBe(content);
      expect((await get(`/v1/chat/completions/${json.id}`)).json.choices[0].message.content).toBe(stored);
      const marks = await api.sql(
        "select nul_replaced from completions where tenant_id = $1 order by id desc limit 1",
        [tenant.id],
      );
      expect(marks).toEqual([{ nul_replaced: true }]);
    }
    // A backslash before it makes it plain text.
    api.upstream.next({ content: ["a\\u0000b"] });
    const { json } = await postChat({ ...chat, store: true });
    expect((await get(`/v1/chat/completions/${json.id}`)).json.choices[0].message.content).toBe("a\\u0000b");
    const marks = await api.sql(
      "select nul_replaced from completions where tenant_id = $1 order by id desc limit 1",
      [tenant.id],
    );
    expect(marks).toEqual([{ nul_replaced: false }]);
  });
});

describe("a URL", () => {
  test("that does not exist is 404, whatever its body is", async () => {
    const answer = await get("/v1/nothing?key=secret");
    expectError(answer, 404, { code: "unknown_url" });
    expect(answer.text).not.toContain("secret");
    expectError(await post("/v1/nothing", "{broken"), 404, { code: "unknown_url" });
    expectError(await get(`/${"x".repeat(5_000)}`), 404, { code: "unknown_url" });
    expectError(await get("/"), 404, { code: "unknown_url" });
  });

  test("with another method is 405 and says which are allowed", async () => {
    const cases: [string, string, string][] = [
      ["PUT", "/v1/chat/completions", "POST, GET, HEAD"],
      ["DELETE", "/v1/models", "GET, HEAD"],
      ["POST", `/v1/files/file-${"0".repeat(32)}`, "GET, HEAD, DELETE"],
      ["GET", "/v1/embeddings", "POST"],
      ["PATCH", `/v1/chat/completions/chatcmpl-${"0".repeat(32)}/messages/`, "GET, HEAD"],
      ["PUT", `/admin/tenants/${tenant.id}`, "GET, HEAD, PATCH"],
      ["OPTIONS", "/v1/embeddings", "POST"],
      ["POST", "/docs/json", "GET, HEAD"],
    ];
    for (const [method, path, allow] of cases) {
      const answer = await api.request(method, path, {
        key: tenant.key,
        ...(method === "POST" ? { body: "{" } : {}),
      });
      expectError(answer, 405, { code: "method_not_allowed" });
      expect(answer.headers.get("allow")?.split(", ").toSorted(), path).toEqual(allow.split(", ").toSorted());
    }
  });

  test("never leads out of the files of the docs", async () => {
    const connection = await rawConnection(api.url);
    for (const path of ["..%2f..%2f..%2fpackage.json", "../../package.json", "nothing.js", "%2e%2e/%2e%2e/x"])
      connection.write(`GET /docs/static/${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
    const text = await connection.until(/(unknown_url.*){4}/s);
    connection.socket.destroy();
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual([
      "404",
      "404",
      "404",
      "404",
    ]);
  });

  test("that cannot be decoded is 400", async () => {
    for (const path of ["/v1/models/%zz", "/v1/files/%ff", "/v1/models/%"]) {
      const answer = await get(path);
      expectError(answer, 400, { code: "invalid_request" });
    }
  });

  test("with an id of any form is 404", async () => {
    const ids = [
      "x",
      "file-",
      "file-0",
      `file-${"F".repeat(32)}`,
      `file-${"0".repeat(33)}`,
      "..%2f..%2fetc%2fpasswd",
      "%00",
      "%0d%0aset-cookie:x",
      "a%2fb",
      "🦀",
      "'; drop table files; --",
      "x".repeat(200),
      "x".repeat(5_000),
      "__proto__",
      "constructor",
    ];
    for (const id of ids) {
      for (const path of [
        `/v1/files/${id}`,
        `/v1/files/${id}/content`,
        `/v1/chat/completions/${id}`,
        `/v1/models/${id}`,
      ]) {
        const answer = await get(path);
        expect(answer.status, path).toBe(404);
        expect(answer.json.error.code, path).toMatch(/^(not_found|unknown_url|model_not_found)$/);
      }
      const admin = await api.request("GET", `/admin/tenants/${id}`, { key: api.operatorKey });
      expect(admin.status, id).toBe(404);
    }
    // The platform itself is no tenant.
    const platform = "/admin/tenants/00000000-0000-0000-0000-000000000000";
    expect((await api.request("GET", platform, { key: api.operatorKey })).status).toBe(404);
    expectError(await get("/v1/files?after=nothing"), 404, { code: "not_found" });
  });

  test("with a wrong query parameter is 400 and names it", async () => {
    for (const [query, param] of [
      ["limit=0", "limit"],
      ["limit=101", "limit"],
      ["limit=x", "limit"],
      ["limit=1.5", "limit"],
      ["limit=1&limit=2", "limit"],
      ["order=up", "order"],
      [`after=${"x".repeat(129)}`, "after"],
    ]) {
      const answer = await get(`/v1/chat/completions?${query}`);
      expectError(answer, 400, { code: "invalid_request", param });
      expect(answer.json.error.message).toContain(`query parameter '${param}'`);
    }
  });
});

describe("what is no HTTP", () => {
  const sendRaw = async (text: string) => {
    const connection = await rawConnection(api.url);
    connection.write(text);
    return parseAnswer(await connection.closed());
  };

  test("is answered with 400 in OpenAI's shape", async () => {
    for (const text of [
      "nonsense\r\n\r\n",
      "GET  /  HTTP/9\r\n\r\n",
      "GET /v1/models HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
      "GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n",
      "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
      "\u0016\u0003\u0001\u0002\u0000",
    ]) {
      const answer = await sendRaw(text);
      expect(answer.status, text).toBe(400);
      expect(JSON.parse(answer.body).error).toMatchObject({ code: "malformed_request", param: null });
      expect(answer.headers["x-request-id"]).toMatch(/^req_/);
      expect(answer.headers.connection).toBe("close");
    }
  });

  test("is 431 where headers are too large", async () => {
    const answer = await sendRaw(
      `GET /v1/models HTTP/1.1\r\nhost: x\r\nx-big: ${"x".repeat(20_000)}\r\n\r\n`,
    );
    expect(answer.status).toBe(431);
    expect(JSON.parse(answer.body).error.code).toBe("headers_too_large");
  });

  test("behind a valid request does not spoil its answer", async () => {
    const connection = await rawConnection(api.url);
    connection.write("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n");
    await connection.until(/"live"/);
    connection.write("garbage\r\n\r\n");
    const text = await connection.closed();
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(text).toMatch(/\}HTTP\/1\.1 400 Bad Request/);
  });

  test("within a stream ends the connection without a word into the stream", async () => {
    api.upstream.next({ hang: "mid-stream" });
    const connection = await rawConnection(api.url);
    const body = JSON.stringify({ ...chat, stream: true });
    connection.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await connection.until(/Hello/);
    connection.write("garbage\r\n\r\n");
    expect(await connection.closed()).not.toContain("malformed_request");
  });

  test("with a body that is not chunked as it says is 400", async () => {
    const connection = await rawConnection(api.url);
    connection.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tenant.key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`,
    );
    expect(parseAnswer(await connection.closed()).status).toBe(400);
  });
});

describe("ids in headers", () => {
  test("are taken for correlation if they are sane, and go on to the provider", async () => {
    await postChat(chat, { "x-correlation-id": "trace/1:a" });
    expect(api.upstream.requests.at(-1)?.headers["x-request-id"]).toBe("trace/1:a");
  });

  test("that are forged are not passed on, nor logged", async () => {
    for (const id of ["x".repeat(7_000), 'a"b{}', "a b", "a\tb"]) {
      const answer = await postChat(chat, { "x-request-id": id, "x-correlation-id": id });
      const requestId = answer.headers.get("x-request-id");
      expect(requestId).toMatch(/^req_[0-9a-f]{32}$/);
      expect(api.upstream.requests.at(-1)?.headers["x-request-id"]).toBe(requestId);
      expect(api.logLines.join("")).not.toContain(JSON.stringify(id).slice(1, -1).concat('"'));
    }
    // A newline cannot be in a header at all.
    const connection = await rawConnection(api.url);
    connection.write("GET /health/live HTTP/1.1\r\nhost: x\r\nx-request-id: a\nb\r\n\r\n");
    expect(parseAnswer(await connection.closed()).status).toBe(400);
  });
});

describe("whatever is sent, nothing fails inside", () => {
  const nasty = fc.constantFrom(
    "\u0000",
    "\ud800",
    "__proto__",
    "constructor",
    "1e999",
    "",
    "🦀",
    "x".repeat(600),
  );
  const number = fc.oneof(fc.integer(), fc.double(), fc.constantFrom(0, -1, 1e300, 2 ** 53, -0.5));
  const json = fc.oneof(nasty, number, fc.jsonValue({ maxDepth: 3 }));
  const valid: Readonly<
    Record<string, { readonly key: "tenant" | "admin" | "operator"; readonly body: object }>
  > = {
    "/v1/chat/completions": { key: "tenant", body: { ...chat, store: true } },
    "/v1/embeddings": { key: "tenant", body: { model: embeddingModel, input: "x" } },
    "/admin/tenants": { key: "operator", body: { name: "Any" } },
    "/admin/tenants/{tenantId}/keys": { key: "operator", body: { name: "Any" } },
    "/v1/chat/completions/{id}": { key: "tenant", body: { metadata: {} } },
    "/v1/exports": { key: "admin", body: { scope: { tables: ["users"] } } },
    "/admin/tenants/{tenantId}/exports": { key: "operator", body: { format: "csv" } },
  };

  test("in any field of any route that takes JSON", async () => {
    const { json: document } = await api.request("GET", "/docs/json");
    const stored = await postChat({ ...chat, store: true });
    const limited = await api.makeTenant();
    const { key: adminKey } = await api.makeKey(limited.id, ["admin"]);
    const keys = { tenant: tenant.key, admin: adminKey, operator: api.operatorKey };
    const posts = Object.entries(document.paths as Record<string, Record<string, RouteDocument>>)
      .filter(([, { post: operation }]) => operation?.requestBody?.content["application/json"] !== undefined)
      .map(([path, { post: operation }]) => ({
        path,
        schema: operation?.requestBody?.content["application/json"]?.schema,
      }));
    expect(posts.map(({ path }) => path).toSorted()).toEqual(Object.keys(valid).toSorted());
    for (const { path, schema } of posts) {
      const { key, body } = valid[path] as (typeof valid)[string];
      const fields = Object.keys(schema?.properties ?? {});
      const change = fc.oneof(
        fc.tuple(fc.constantFrom(...fields), json),
        fc.tuple(fc.constantFrom(...fields), fc.constantFrom(null, true, false, 1, "x", [], {})),
        fc.tuple(fc.oneof(nasty, fc.string()), json),
      );
      const url = path.replace("{tenantId}", limited.id).replace("{id}", stored.json.id);
      await fc.assert(
        fc.asyncProperty(fc.array(change, { maxLength: 4 }), async (changes) => {
          const sent = { ...body, ...Object.fromEntries(changes) };
          const answer = await api.request("POST", url, {
            key: keys[key],
            body: JSON.stringify(sent),
          });
          expectAnswer(answer, JSON.stringify(sent));
        }),
        { numRuns: 150 },
      );
    }
  });

  test("in any query", async () => {
    const text = fc
      .oneof(nasty, fc.string({ unit: "binary" }))
      .map((value) => encodeURIComponent(value.toWellFormed()));
    const name = fc.oneof(
      fc.constantFrom("limit", "after", "order", "model", "purpose", "metadata[x]", "metadata", "metadata[]"),
      text,
    );
    const query = fc
      .array(fc.tuple(name, fc.oneof(text, fc.constantFrom("1", "asc"))), { maxLength: 4 })
      .map((pairs) => pairs.map(([key, value]) => `${key}=${value}`).join("&"));
    await fc.assert(
      fc.asyncProperty(
        query,
        fc.constantFrom("/v1/chat/completions", "/v1/files", "/v1/models"),
        async (search, path) => {
          expectAnswer(await get(`${path}?${search}`), `${path}?${search}`);
        },
      ),
      { numRuns: 150 },
    );
  });

  interface RouteDocument {
    readonly requestBody?: {
      readonly content: Readonly<Record<string, { readonly schema: { readonly properties?: object } }>>;
    };
  }

  function expectAnswer(answer: Answer, sent: string): void {
    expect(answer.status, `${sent} → ${answer.text}`).toBeLessThan(500);
    if (answer.status >= 400) {
      expect(answer.json?.error, sent).toEqual({
        message: expect.any(String),
        type: expect.any(String),
        param: answer.json.error.param === null ? null : expect.any(String),
        code: expect.any(String),
      });
    } else if (answer.headers.get("content-type")?.startsWith("text/event-stream")) {
      expect(answer.text, sent).toMatch(/data: \[DONE\]\n\n$/);
    } else {
      expect(answer.json, sent).toBeTypeOf("object");
    }
  }
});
