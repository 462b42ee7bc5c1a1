// The official `openai` client over the whole surface.
import { randomBytes } from "node:crypto";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { chatModel, embeddingModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

let api: TestApi;
let tenant: TestTenant;
let client: OpenAI;
const messages = [{ role: "user" as const, content: "Hello?" }];

beforeAll(async () => {
  api = await startApi({ maxFileBytes: 1024 * 1024 });
});
afterAll(() => api.close());
beforeEach(async () => {
  api.upstream.always({});
  tenant = await api.makeTenant();
  client = tenant.client;
});

interface UsageRow {
  readonly outcome: string;
  readonly streamed: boolean;
  readonly input_tokens: number | null;
  readonly output_tokens: number | null;
  readonly charged_tokens: string;
  readonly cost_usd: string | null;
  readonly request_id: string;
}

const usageOf = (): Promise<UsageRow[]> =>
  api.sql<UsageRow>("select * from usage where tenant_id = $1 order by id", [tenant.id]);

describe("chat", () => {
  test("answers, under an id of its own and the model's public name, and records the usage", async () => {
    const { data, request_id } = await client.chat.completions
      .create({ model: chatModel, messages })
      .withResponse();
    expect(data.choices[0]?.message.content).toBe("Hello, world");
    expect(data.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
    expect(data.model).toBe(chatModel);
    expect(data.usage?.total_tokens).toBe(12);
    expect(await usageOf()).toMatchObject([
      {
        outcome: "completed",
        streamed: false,
        input_tokens: 9,
        output_tokens: 3,
        charged_tokens: "12",
        cost_usd: "0.000015000000",
        request_id,
      },
    ]);
  });

  test("streams, without usage unless it is asked for", async () => {
    const chunks = await Array.fromAsync(
      await client.chat.completions.create({ model: chatModel, messages, stream: true }),
    );
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("Hello, world");
    expect(chunks.every((chunk) => chunk.usage == null && chunk.model === chatModel)).toBe(true);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    const withUsage = await Array.fromAsync(
      await client.chat.completions.create({
        model: chatModel,
        messages,
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    expect(withUsage.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 12 } });
    expect(await usageOf()).toMatchObject([
      { outcome: "completed", streamed: true, input_tokens: 9, output_tokens: 3 },
      { outcome: "completed", streamed: true, input_tokens: 9, output_tokens: 3 },
    ]);
  });

  test("works through the client's stream helper", async () => {
    const runner = client.chat.completions.stream({ model: chatModel, messages });
    const pieces: string[] = [];
    runner.on("content", (piece) => pieces.push(piece));
    const final = await runner.finalChatCompletion();
    expect(final.choices[0]?.message.content).toBe("Hello, world");
    expect(pieces.join("")).toBe("Hello, world");
  });

  test("passes tools and response_format on to the provider, and its tool calls back", async () => {
    const call = {
      id: "call_1",
      type: "function",
      function: { name: "weather", arguments: '{"city":"Oslo"}' },
    };
    api.upstream.next({
      raw: JSON.stringify({
        id: "x",
        object: "chat.completion",
        created: 1,
        model: "upstream-chat",
        choices: [
          {
            index: 0,
            message: { role: "assistant", content: null, tool_calls: [call] },
            finish_reason: "tool_calls",
          },
        ],
        usage: { prompt_tokens: 5, completion_tokens: 4, total_tokens: 9 },
      }),
    });
    const tools: OpenAI.ChatCompletionTool[] = [
      { type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } },
    ];
    const response_format = {
      type: "json_schema" as const,
      json_schema: { name: "place", strict: true, schema: { type: "object" } },
    };
    const before = api.upstream.requestCount;
    const answer = await client.chat.completions.create({
      model: chatModel,
      messages,
      tools,
      response_format,
      tool_choice: "auto",
      parallel_tool_calls: false,
    });
    expect(api.upstream.requestCount).toBe(before + 1);
    expect(api.upstream.requests.at(-1)?.body).toMatchObject({
      model: "upstream-chat",
      tools,
      response_format,
      tool_choice: "auto",
      parallel_tool_calls: false,
    });
    expect(answer.choices[0]?.message.tool_calls).toEqual([call]);
    expect(answer.choices[0]?.finish_reason).toBe("tool_calls");
  });

  test("puts the pieces of streamed tool calls together in what it stores", async () => {
    const event = (delta: object, finish_reason: string | null = null) =>
      `data: ${JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
    const piece = (more: object) => ({ tool_calls: [{ index: 0, ...more }] });
    api.upstream.next({
      contentType: "text/event-stream",
      raw: [
        event({
          role: "assistant",
          content: null,
          ...piece({ id: "call_1", type: "function", function: { name: "weather", arguments: "" } }),
        }),
        event(piece({ function: { arguments: '{"city":' } })),
        event(piece({ function: { arguments: '"Oslo"}' } })),
        event({}, "tool_calls"),
        "data: [DONE]\n\n",
      ].join(""),
    });
    const streamed = await client.chat.completions
      .stream({ model: chatModel, messages, store: true })
      .finalChatCompletion();
    const stored = await client.chat.completions.retrieve(streamed.id);
    expect(stored.choices[0]?.message.tool_calls).toEqual([
      { id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Oslo"}' } },
    ]);
    expect(stored.choices[0]?.finish_reason).toBe("tool_calls");
  });

  test("answers with several choices, in one piece and streamed", async () => {
    const choice = (index: number) => ({
      index,
      message: { role: "assistant", content: `Answer ${index}` },
      finish_reason: "stop",
    });
    const whole = { id: "x", created: 1, model: "m", usage: { prompt_tokens: 5, completion_tokens: 8 } };
    api.upstream.next({
      raw: JSON.stringify({ ...whole, object: "chat.completion", choices: [choice(0), choice(1)] }),
    });
    const answer = await client.chat.completions.create({ model: chatModel, messages, n: 2 });
    expect(answer.choices.map(({ message }) => message.content)).toEqual(["Answer 0", "Answer 1"]);
    expect(api.upstream.requests.at(-1)?.body.n).toBe(2);

    const event = (index: number, delta: object, finish_reason: string | null = null) =>
      `data: ${JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index, delta, finish_reason }] })}\n\n`;
    api.upstream.next({
      contentType: "text/event-stream",
      raw: [
        event(0, { role: "assistant", content: "A" }),
        event(1, { role: "assistant", content: "B" }),
        event(0, {}, "stop"),
        event(1, { content: "b" }),
        event(1, {}, "length"),
        "data: [DONE]\n\n",
      ].join(""),
    });
    const streamed = await client.chat.completions
      .stream({ model: chatModel, messages, n: 2, store: true })
      .finalChatCompletion();
    expect(streamed.choices.map(({ message }) => message.content)).toEqual(["A", "Bb"]);
    const stored = await client.chat.completions.retrieve(streamed.id);
    expect(stored.choices.map(({ message, finish_reason }) => [message.content, finish_reason])).toEqual([
      ["A", "stop"],
      ["Bb", "length"],
    ]);
  });

  test("keeps from the provider what is between the client and this API", async () => {
    await client.chat.completions.create({
      model: chatModel,
      messages,
      store: true,
      metadata: { order: "7" },
      temperature: 0.5,
      seed: 7,
    });
    const body = api.upstream.requests.at(-1)?.body;
    expect(body).toMatchObject({ temperature: 0.5, seed: 7 });
    expect(body).not.toHaveProperty("store");
    expect(body).not.toHaveProperty("metadata");
    expect(api.upstream.requests.at(-1)?.headers.authorization).toBe("Bearer sk-of-the-upstream");
  });

  test("tells the provider the bound that a budget counts on, where the request has none", async () => {
    const bounded = await api.makeTenant({ monthly_token_budget: 1_000_000 });
    await bounded.client.chat.completions.create({ model: chatModel, messages });
    expect(api.upstream.requests.at(-1)?.body.max_tokens).toBe(1_024);
    await bounded.client.chat.completions.create({ model: chatModel, messages, max_completion_tokens: 9 });
    expect(api.upstream.requests.at(-1)?.body).toMatchObject({ max_completion_tokens: 9 });
    expect(api.upstream.requests.at(-1)?.body).not.toHaveProperty("max_tokens");
    await client.chat.completions.create({ model: chatModel, messages });
    expect(api.upstream.requests.at(-1)?.body).not.toHaveProperty("max_tokens");
  });

  test("takes null for what is left out", async () => {
    const nothing = Object.fromEntries(
      [
        "user",
        "tools",
        "response_format",
        "stop",
        "n",
        "max_tokens",
        "metadata",
        "store",
        "stream",
        "seed",
      ].map((field) => [field, null]),
    );
    const answer = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: { ...nothing, model: chatModel, messages },
    });
    expect(answer.status).toBe(200);
    expect(api.upstream.requests.at(-1)?.body).not.toHaveProperty("tools");
  });
});

describe("stored completions", () => {
  const store = (metadata: Record<string, string>, content = "Hello?") =>
    client.chat.completions.create({
      model: chatModel,
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content },
      ],
      store: true,
      metadata,
    });

  test("are read, changed, listed with their messages, and deleted", async () => {
    const { id } = await store({ order: "7" });
    const stored = await client.chat.completions.retrieve(id);
    expect(stored).toMatchObject({
      id,
      object: "chat.completion",
      model: chatModel,
      metadata: { order: "7" },
    });
    expect(stored.choices[0]?.message.content).toBe("Hello, world");
    expect(stored.usage?.total_tokens).toBe(12);

    const updated = await client.chat.completions.update(id, { metadata: { order: "8", by: "me" } });
    expect(updated.metadata).toEqual({ order: "8", by: "me" });
    expect((await client.chat.completions.update(id, { metadata: null })).metadata).toEqual({});

    const first = await client.chat.completions.messages.list(id, { limit: 1 });
    expect(first.data.map(({ content }) => content)).toEqual(["Be brief."]);
    const all = await Array.fromAsync(client.chat.completions.messages.list(id, { limit: 1 }));
    expect(all.map(({ content }) => content)).toEqual(["Be brief.", "Hello?"]);
    const backwards = await Array.fromAsync(client.chat.completions.messages.list(id, { order: "desc" }));
    expect(backwards.map(({ content }) => content)).toEqual(["Hello?", "Be brief."]);

    expect(await client.chat.completions.delete(id)).toEqual({
      id,
      object: "chat.completion.deleted",
      deleted: true,
    });
    await expect(client.chat.completions.retrieve(id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(client.chat.completions.delete(id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    expect(await api.sql("select 1 from messages where tenant_id = $1", [tenant.id])).toEqual([]);
  });

  test("are listed page by page, in both orders, by model and by metadata", async () => {
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1) {
      ids.push((await store({ parity: index % 2 === 0 ? "even" : "odd", index: String(index) })).id);
    }
    const list = async (query: OpenAI.ChatCompletionListParams) =>
      (await Array.fromAsync(client.chat.completions.list(query))).map(({ id }) => id);
    expect(await list({ limit: 2, order: "asc" })).toEqual(ids);
    expect(await list({ limit: 2 })).toEqual(ids.toReversed());
    expect(await list({ metadata: { parity: "even" }, order: "asc" })).toEqual([ids[0], ids[2], ids[4]]);
    expect(await list({ metadata: { parity: "even", index: "2" } })).toEqual([ids[2]]);
    expect(await list({ metadata: { parity: "none" } })).toEqual([]);
    expect(await list({ model: chatModel, limit: 100 })).toHaveLength(5);
    expect(await list({ model: "another" })).toEqual([]);
    const page = await client.chat.completions.list({ limit: 2, order: "asc" });
    expect(page.has_more).toBe(true);
    expect(page.hasNextPage()).toBe(true);
  });

  test("of a stream are those of the whole answer", async () => {
    const stream = await client.chat.completions.create({
      model: chatModel,
      messages,
      stream: true,
      store: true,
    });
    const [chunk] = await Array.fromAsync(stream);
    const stored = await client.chat.completions.retrieve(chunk?.id ?? "");
    expect(stored.choices).toMatchObject([
      { index: 0, message: { role: "assistant", content: "Hello, world" }, finish_reason: "stop" },
    ]);
    expect(stored.usage?.total_tokens).toBe(12);
  });

  test("name their end user as safety_identifier or user says", async () => {
    const body = { model: chatModel, messages, store: true };
    await client.chat.completions.create({ ...body, user: "old-field" });
    await client.chat.completions.create({ ...body, user: "old-field", safety_identifier: "new-field" });
    await client.chat.completions.create(body);
    const rows = await api.sql("select end_user from completions where tenant_id = $1 order by id", [
      tenant.id,
    ]);
    expect(rows).toEqual([{ end_user: "old-field" }, { end_user: "new-field" }, { end_user: null }]);
  });

  test("are none without store: true", async () => {
    const { id } = await client.chat.completions.create({ model: chatModel, messages });
    await expect(client.chat.completions.retrieve(id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    expect((await client.chat.completions.list()).data).toEqual([]);
  });
});

describe("embeddings", () => {
  test("come as floats, which the client asks for as base64 by default", async () => {
    const { data, model } = await client.embeddings.create({ model: embeddingModel, input: ["a", "b"] });
    expect(api.upstream.requests.at(-1)?.body.encoding_format).toBe("base64");
    expect(data.map(({ embedding }) => [...embedding])).toEqual([
      [0.25, -0.5, 1],
      [0.25, -0.5, 1],
    ]);
    expect(model).toBe(embeddingModel);
    const floats = await client.embeddings.create({
      model: embeddingModel,
      input: "a",
      encoding_format: "float",
      dimensions: 3,
      user: "someone",
    });
    expect(floats.data[0]?.embedding).toEqual([0.25, -0.5, 1]);
    expect(api.upstream.requests.at(-1)?.body).toMatchObject({ dimensions: 3, user: "someone" });
    expect(await usageOf()).toMatchObject([
      { outcome: "completed", input_tokens: 9, output_tokens: 0, charged_tokens: "9" },
      { outcome: "completed", input_tokens: 9, output_tokens: 0, charged_tokens: "9" },
    ]);
  });

  test("can be asked for as base64, and for token ids", async () => {
    const { data } = await client.embeddings.create({
      model: embeddingModel,
      input: [[1, 2], [3]],
      encoding_format: "base64",
    });
    const base64 = data[0]?.embedding as unknown as string;
    expect(new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer)).toEqual(
      Float32Array.of(0.25, -0.5, 1),
    );
  });
});

describe("files", () => {
  test("are uploaded, described, read and deleted", async () => {
    const bytes = randomBytes(100_000);
    const file = await client.files.create({ file: await toFile(bytes, "data.jsonl"), purpose: "batch" });
    expect(file).toMatchObject({ object: "file", bytes: 100_000, filename: "data.jsonl", purpose: "batch" });
    expect(await client.files.retrieve(file.id)).toEqual(file);
    const content = await client.files.content(file.id);
    expect(Buffer.from(await content.arrayBuffer()).equals(bytes)).toBe(true);
    expect(content.headers.get("content-disposition")).toBe("attachment; filename*=UTF-8''data.jsonl");
    expect(content.headers.get("x-content-type-options")).toBe("nosniff");
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: "file", deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(client.files.content(file.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });

  test("are listed page by page and by purpose", async () => {
    const ids: string[] = [];
    for (const purpose of ["batch", "user_data", "batch"] as const) {
      ids.push((await client.files.create({ file: new File(["x"], "x.txt"), purpose })).id);
    }
    const list = async (query: OpenAI.FileListParams) =>
      (await Array.fromAsync(client.files.list(query))).map(({ id }) => id);
    expect(await list({ limit: 1 })).toEqual(ids.toReversed());
    expect(await list({ order: "asc", limit: 2 })).toEqual(ids);
    expect(await list({ purpose: "batch" })).toEqual([ids[2], ids[0]]);
  });

  test("wait until they are processed, which they are at once", async () => {
    const { id } = await client.files.create({ file: new File(["x"], "x.txt"), purpose: "user_data" });
    expect((await client.files.waitForProcessing(id, { pollInterval: 1 })).status).toBe("processed");
  });
});

test("models are listed and described", async () => {
  const models = await Array.fromAsync(client.models.list());
  expect(models.map(({ id }) => id).toSorted()).toEqual([chatModel, embeddingModel]);
  expect(await client.models.retrieve(chatModel)).toMatchObject({ object: "model", owned_by: "tests" });
  await expect(client.models.retrieve("no/such model")).rejects.toMatchObject({
    status: 404,
    code: "model_not_found",
  });
});

describe("errors are of the client's own classes", () => {
  const ask = (by = client) => by.chat.completions.create({ model: chatModel, messages });

  test("AuthenticationError for a key that is none", async () => {
    await expect(ask(api.client("sk-wrong"))).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    const error = await ask(api.client("sk-wrong")).catch((thrown) => thrown);
    expect(error).toMatchObject({ status: 401, code: "invalid_api_key", type: "authentication_error" });
    expect(error.requestID).toMatch(/^req_[0-9a-f]{32}$/);
  });

  test("PermissionDeniedError for a suspended tenant", async () => {
    await api.suspend(tenant.id);
    // Suspension is told to the server by notification, within a second.
    await expect
      .poll(() => ask().catch((thrown) => thrown.code ?? thrown), { timeout: 2_000, interval: 20 })
      .toBe("tenant_suspended");
    await expect(ask()).rejects.toBeInstanceOf(OpenAI.PermissionDeniedError);
  });

  test("NotFoundError for an unknown model", async () => {
    const error = await client.chat.completions.create({ model: "none", messages }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    expect(error).toMatchObject({ code: "model_not_found", param: "model" });
  });

  test("BadRequestError with the field that is at fault", async () => {
    const error = await client.chat.completions
      .create({ model: chatModel, messages, temperature: 3 })
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ param: "temperature", code: "invalid_request" });
    expect(error.message).toContain("must be <= 2");
  });

  test("BadRequestError for an operation that a model does not have", async () => {
    const error = await client.embeddings.create({ model: chatModel, input: "x" }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ code: "unsupported_operation", param: "model" });
  });

  test("RateLimitError with the headers that say when to come again", async () => {
    const limited = await api.makeTenant({ requests_per_minute: 1 });
    await ask(limited.client);
    const error = await ask(limited.client).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error.code).toBe("rate_limit_exceeded");
    expect(Number(error.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(error.headers.get("x-ratelimit-limit-requests")).toBe("1");
    expect(error.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect(error.headers.get("x-ratelimit-reset-requests")).toMatch(/^\d+s$/);
  });

  test("RateLimitError that is not tried again where the budget is used up", async () => {
    const poor = await api.makeTenant({ monthly_token_budget: 10 });
    const before = api.upstream.requestCount;
    const error = await ask(api.client(poor.key, { maxRetries: 2 })).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error.code).toBe("insufficient_quota");
    expect(error.headers.get("x-should-retry")).toBe("false");
    expect(api.upstream.requestCount).toBe(before);
  });

  test("RateLimitError where the provider limits its rate, with its Retry-After", async () => {
    api.upstream.next({ status: 429, retryAfter: "7" });
    const error = await ask().catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error.code).toBe("upstream_rate_limited");
    expect(error.headers.get("retry-after")).toBe("7");
    expect(await usageOf()).toEqual([]);
  });

  test("InternalServerError where the provider fails", async () => {
    api.upstream.next({ status: 500 });
    await expect(ask()).rejects.toBeInstanceOf(OpenAI.InternalServerError);
    api.upstream.next({ status: 401 });
    await expect(ask()).rejects.toMatchObject({ status: 502, code: "upstream_error" });
  });

  test("APIError within a stream that is cut", async () => {
    api.upstream.next({ reset: "mid-stream" });
    const stream = await client.chat.completions.create({ model: chatModel, messages, stream: true });
    const seen: string[] = [];
    const error = await (async () => {
      for await (const chunk of stream) seen.push(chunk.choices[0]?.delta.content ?? "");
    })().catch((thrown) => thrown);
    expect(seen).toEqual(["Hello"]);
    expect(error).toBeInstanceOf(OpenAI.APIError);
    expect(error).toMatchObject({ code: "stream_interrupted", type: "server_error" });
  });
});
