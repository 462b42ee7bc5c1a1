// Clients that leave, upstreams that fail, readers that do not read, commits that fail: nothing is lost, nothing leaks,
// and nobody takes a part for a whole answer.
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { BlobStorage } from "@ectus/storage";
import type { ChatCompletionCreateParamsStreaming } from "openai/resources/chat/completions";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Behavior } from "../openai-upstream/upstream.ts";
import { type RawConnection, rawConnection } from "./raw-http.ts";
import { chatModel, embeddingModel, startApi, type TestApi, type TestTenant } from "./start-api.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const upstreamTimeoutMs = 300;
const budget = 1_000_000;
let api: TestApi;
let patient: TestApi;
let tenant: TestTenant;

beforeAll(async () => {
  // One gives up soon on upstreams and readers, the other does not.
  [api, patient] = await Promise.all([
    startApi({ timeoutMs: upstreamTimeoutMs, streamIdleTimeoutMs: upstreamTimeoutMs }),
    startApi(),
  ]);
});
afterAll(() => Promise.all([api.close(), patient.close()]));

const chat = { model: chatModel, messages: [{ role: "user" as const, content: "Hi" }], max_tokens: 100 };
const streamed: ChatCompletionCreateParamsStreaming = { ...chat, stream: true };

interface Row {
  readonly outcome: string;
  readonly streamed: boolean;
  readonly input_tokens: number | null;
  readonly charged_tokens: string;
}

const rowsOf = (of: TestApi, { id }: TestTenant): Promise<Row[]> =>
  of.sql<Row>("select outcome, streamed, input_tokens, charged_tokens from usage where tenant_id = $1", [id]);

/** The tenant's rows when there is one. */
async function waitForRow(of: TestApi, by: TestTenant): Promise<Row[]> {
  await expect.poll(() => rowsOf(of, by), { timeout: 5_000, interval: 10 }).toHaveLength(1);
  return rowsOf(of, by);
}

describe("a client that leaves", () => {
  beforeEach(async () => {
    tenant = await patient.makeTenant({ monthly_token_budget: budget });
    while (patient.upstream.requestCount > seen) {
      await patient.upstream.nextRequest();
      seen += 1;
    }
  });
  let seen = 0;
  const nextRequest = () => {
    seen += 1;
    return patient.upstream.nextRequest();
  };

  /** What was reserved is charged, in the row and in the budget, and nothing stays reserved. */
  async function expectCharged(isStream: boolean): Promise<void> {
    const [row] = await waitForRow(patient, tenant);
    expect(row).toMatchObject({ outcome: "client_closed", streamed: isStream, input_tokens: null });
    const charged = Number(row?.charged_tokens);
    expect(charged).toBeGreaterThan(100);
    const [spent] = await patient.sql<{ spent: string }>(
      "select spent from token_spending where tenant_id = $1",
      [tenant.id],
    );
    expect(Number(spent?.spent)).toBe(charged);
  }

  test("in a stream closes the connection to the upstream, and what was reserved is charged", async () => {
    patient.upstream.next({ hang: "mid-stream" });
    const stream = await tenant.client.chat.completions.create(streamed);
    const upstream = await nextRequest();
    for await (const chunk of stream) {
      expect(chunk.choices[0]?.delta.content).toBe("Hello");
      break;
    }
    expect(await upstream.closed).toBe(true);
    await expectCharged(true);
  });

  test("before the first chunk of its stream, too", async () => {
    patient.upstream.next({ hang: "after-headers" });
    const controller = new AbortController();
    const asked = tenant.client.chat.completions.create(streamed, { signal: controller.signal });
    const upstream = await nextRequest();
    controller.abort();
    await expect(asked).rejects.toThrow();
    expect(await upstream.closed).toBe(true);
    await expectCharged(true);
  });

  test("before its whole answer, too: nobody asks for free by leaving just before the end", async () => {
    patient.upstream.next({ hang: "before-headers" });
    const controller = new AbortController();
    const asked = tenant.client.chat.completions.create(chat, { signal: controller.signal });
    const upstream = await nextRequest();
    controller.abort();
    await expect(asked).rejects.toThrow();
    expect(await upstream.closed).toBe(true);
    await expectCharged(false);
  });

  test("before its embeddings, too", async () => {
    patient.upstream.next({ hang: "before-headers" });
    const controller = new AbortController();
    const input = "many words ".repeat(20);
    const asked = tenant.client.embeddings.create(
      { model: embeddingModel, input },
      { signal: controller.signal },
    );
    const upstream = await nextRequest();
    controller.abort();
    await expect(asked).rejects.toThrow();
    expect(await upstream.closed).toBe(true);
    await expectCharged(false);
  });

  test("is a 499 in the log and no error", async () => {
    patient.upstream.next({ hang: "mid-stream" });
    const lines = patient.logLines.length;
    const stream = await tenant.client.chat.completions.create(streamed);
    await nextRequest();
    stream.controller.abort();
    await waitForRow(patient, tenant);
    await expect
      .poll(() => patient.logLines.slice(lines).some((line) => line.includes('"status":499')), {
        timeout: 5_000,
      })
      .toBe(true);
    expect(patient.logLines.slice(lines).filter((line) => /"level":"(warn|error)"/.test(line))).toEqual([]);
  });
});

describe("an upstream that fails", () => {
  beforeEach(async () => {
    tenant = await api.makeTenant({ monthly_token_budget: budget });
  });

  const sse = (...data: readonly string[]): Behavior => ({
    contentType: "text/event-stream",
    raw: data.map((one) => `data: ${one}\n\n`).join(""),
  });
  const chunk = (choices: unknown): string =>
    JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: "m", choices });
  const hello = chunk([{ index: 0, delta: { content: "Hello" }, finish_reason: null }]);
  const end = chunk([{ index: 0, delta: {}, finish_reason: "stop" }]);

  const inStream: readonly [string, Behavior, string][] = [
    ["hangs", { hang: "mid-stream" }, "stream_interrupted"],
    ["resets the connection", { reset: "mid-stream" }, "stream_interrupted"],
    ["sends half a chunk", { reset: "half-chunk" }, "stream_interrupted"],
    ["sends what is not JSON", { raw: "data: {not json}\n\n" }, "stream_interrupted"],
    ["closes the connection", { truncate: true }, "stream_interrupted"],
    ["ends without an end mark", { done: false, finishReason: false, usage: false }, "stream_interrupted"],
    ["sends an error event", { errorEvent: { as: "event", message: "out of memory" } }, "stream_interrupted"],
    [
      "sends an error as data",
      { errorEvent: { as: "data", message: "out of memory" } },
      "stream_interrupted",
    ],
    ["sends a chunk without choices", sse(hello, '{"choices":7}'), "stream_interrupted"],
    [
      "never stops after the end",
      sse(hello, ...Array.from({ length: 400 }, () => end), "[DONE]"),
      "stream_interrupted",
    ],
  ];

  test.each(inStream)(
    "and %s in a stream: an error event, no [DONE], no completion, and a row that says so",
    async (_name, behavior, code) => {
      api.upstream.next(behavior);
      const answer = await api.request("POST", "/v1/chat/completions", {
        key: tenant.key,
        body: { ...streamed, store: true },
      });
      expect(answer.status).toBe(200);
      const events = answer.text.trimEnd().split("\n\n");
      expect(events[0]).toContain("Hello");
      const last = JSON.parse((events.at(-1) ?? "").replace(/^data: /, ""));
      expect(last.error).toMatchObject({ code, type: "server_error" });
      expect(answer.text).not.toContain("[DONE]");
      const [row] = await rowsOf(api, tenant);
      expect(row).toMatchObject({ outcome: "interrupted", streamed: true, input_tokens: null });
      expect(Number(row?.charged_tokens)).toBeGreaterThan(100);
      expect(await api.sql("select 1 from completions where tenant_id = $1", [tenant.id])).toEqual([]);
    },
  );

  test("and sends a choice without a delta, as Azure's filters do: it is passed on, and the answer is stored", async () => {
    api.upstream.next(sse(hello, chunk([{ index: 0, finish_reason: null }]), end, "[DONE]"));
    const answer = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: { ...streamed, store: true },
    });
    expect(answer.text.trimEnd()).toMatch(/data: \[DONE\]$/);
    const stored = await tenant.client.chat.completions.list();
    expect(stored.data.map(({ choices }) => choices[0]?.message.content)).toEqual(["Hello"]);
  });

  test("and goes on for ever in a stream that is to be stored: it is cut, with an error that says why", async () => {
    // 20 MB
    const endless: Behavior = { chunkCount: 1_250, chunkText: "x".repeat(16_000) };
    api.upstream.next(endless, endless);
    const [kept, passing] = await Promise.all(
      [true, false].map((store) =>
        api.request("POST", "/v1/chat/completions", { key: tenant.key, body: { ...streamed, store } }),
      ),
    );
    const last = JSON.parse((kept?.text.trimEnd().split("\n\n").at(-1) ?? "").replace(/^data: /, ""));
    expect(last.error.code).toBe("stream_interrupted");
    expect(last.error.message).toContain("more than can be stored");
    expect(kept?.text).not.toContain("[DONE]");
    expect(await api.sql("select 1 from completions where tenant_id = $1", [tenant.id])).toEqual([]);
    // What is not to be stored is not gathered.
    expect(passing?.text.trimEnd().endsWith("[DONE]")).toBe(true);
    expect((await rowsOf(api, tenant)).map(({ outcome }) => outcome).sort()).toEqual([
      "completed",
      "interrupted",
    ]);
  });

  const whole: readonly [string, Behavior, number, string][] = [
    ["hangs", { hang: "before-headers" }, 504, "upstream_timeout"],
    ["resets the connection", { reset: "before-headers" }, 502, "upstream_error"],
    ["closes the connection", { truncate: true }, 502, "upstream_error"],
    ["sends what is not JSON", { raw: "{not json}" }, 502, "upstream_error"],
    ["sends another kind of answer", { raw: '{"object":"list"}' }, 502, "upstream_error"],
    ["says 500", { status: 500 }, 502, "upstream_error"],
    ["refuses the request", { status: 400, errorMessage: "too many tools" }, 400, "upstream_rejected"],
  ];

  test.each(whole)(
    "and %s before it answers: an error with its status, and nothing is charged",
    async (_name, behavior, status, code) => {
      for (const body of [chat, streamed]) {
        // The double's stream has no body of its own before its headers, so some faults are of whole answers only.
        if (body === streamed && behavior.status === undefined && behavior.hang === undefined) continue;
        api.upstream.next(behavior);
        const answer = await api.request("POST", "/v1/chat/completions", { key: tenant.key, body });
        expect(answer.json.error.code).toBe(code);
        expect(answer.status).toBe(status);
      }
      expect(await rowsOf(api, tenant)).toEqual([]);
      const spent = await api.sql("select spent from token_spending where tenant_id = $1 and spent > 0", [
        tenant.id,
      ]);
      expect(spent).toEqual([]);
    },
  );

  test("and leaves the message out of a choice that is to be stored: an error, and a row that says so", async () => {
    api.upstream.next({ raw: JSON.stringify({ choices: [{ index: 0, finish_reason: "stop" }] }) });
    const answer = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: { ...chat, store: true },
    });
    expect(answer.status).toBe(502);
    expect(answer.json.error.code).toBe("upstream_error");
    expect(await rowsOf(api, tenant)).toMatchObject([{ outcome: "interrupted" }]);
  });

  test("and answers with more than can be stored: an error, and a row with what was used", async () => {
    api.upstream.next({ content: ["x".repeat(17 * 1024 * 1024)] });
    const answer = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: { ...chat, store: true },
    });
    expect(answer.status).toBe(502);
    expect(answer.json.error.message).toContain("more than can be stored");
    expect(await rowsOf(api, tenant)).toMatchObject([{ outcome: "interrupted", charged_tokens: "12" }]);
  });

  test("and says no usage: the answer stands, and the row says that it is unknown", async () => {
    api.upstream.next({ usage: false });
    expect((await api.request("POST", "/v1/chat/completions", { key: tenant.key, body: chat })).status).toBe(
      200,
    );
    const [row] = await rowsOf(api, tenant);
    expect(row).toMatchObject({ outcome: "completed", input_tokens: null });
    expect(Number(row?.charged_tokens)).toBeGreaterThan(100);
  });
});

describe("a commit that fails", () => {
  beforeAll(async () => {
    tenant = await api.makeTenant();
    await api.sql("alter table usage add constraint refused check (false) not valid");
  });
  afterAll(() => api.sql("alter table usage drop constraint refused"));

  test("at the end of a stream is an error event and no [DONE]", async () => {
    const answer = await api.request("POST", "/v1/chat/completions", { key: tenant.key, body: streamed });
    expect(answer.text).toContain("Hello");
    expect(answer.text).not.toContain("[DONE]");
    expect(answer.text).not.toContain('"finish_reason":"stop"');
    expect(answer.text.trimEnd().split("\n\n").at(-1)).toContain('"code":"internal_error"');
  });

  test("at the end of a stream of two answers lets the end of the first through, but not of both", async () => {
    const event = (index: number, delta: object, finish_reason: string | null = null) =>
      `data: ${JSON.stringify({ id: "x", created: 1, choices: [{ index, delta, finish_reason }] })}\n\n`;
    api.upstream.next({
      contentType: "text/event-stream",
      raw: [
        event(0, { content: "A" }),
        event(0, {}, "stop"),
        event(1, { content: "B" }),
        event(1, {}, "length"),
        "data: [DONE]\n\n",
      ].join(""),
    });
    const answer = await api.request("POST", "/v1/chat/completions", {
      key: tenant.key,
      body: { ...streamed, n: 2 },
    });
    expect(answer.text).toContain('"finish_reason":"stop"');
    expect(answer.text).toContain('"content":"B"');
    expect(answer.text).not.toContain('"finish_reason":"length"');
    expect(answer.text).not.toContain("[DONE]");
    expect(answer.text.trimEnd().split("\n\n").at(-1)).toContain('"code":"internal_error"');
  });

  test("after a whole answer is an error and no answer", async () => {
    const answer = await api.request("POST", "/v1/chat/completions", { key: tenant.key, body: chat });
    expect(answer.status).toBe(500);
    expect(answer.json.error.code).toBe("internal_error");
    expect(answer.text).not.toContain("Hello");
    expect(api.logLines.some((line) => line.includes("usage could not be recorded"))).toBe(true);
  });
});

describe("a reader that does not read", () => {
  // 50 MB a stream.
  const flood: Behavior = { chunkCount: 3_200, chunkText: "x".repeat(16_000) };
  const megabyte = 1024 * 1024;

  async function openReader(
    of: TestApi,
    { key }: TestTenant,
    request = "POST /v1/chat/completions",
    body = JSON.stringify(streamed),
  ): Promise<RawConnection> {
    const connection = await rawConnection(of.url);
    connection.socket.pause();
    connection.write(
      `${request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    return connection;
  }

  /** Resolves when a number has not changed for a while. */
  async function settled(read: () => number): Promise<number> {
    let last = -1;
    let unchanged = 0;
    for (let tries = 0; tries < 200 && unchanged < 10; tries += 1) {
      const value = read();
      unchanged = value === last ? unchanged + 1 : 0;
      last = value;
      await delay(20);
    }
    return last;
  }

  function memory(): number {
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  }

  test.each([1, 200])(
    "%i of them pause their upstreams and do not grow this process",
    async (count) => {
      const by = await patient.makeTenant();
      patient.upstream.always(flood);
      const total = (flood.chunkCount ?? 0) * 16_000;
      const requests = patient.upstream.requestCount;
      const before = memory();
      const readers = await Promise.all(Array.from({ length: count }, () => openReader(patient, by)));
      await expect.poll(() => patient.upstream.requestCount - requests, { timeout: 40_000 }).toBe(count);
      const sent = () =>
        patient.upstream.requests.slice(-count).reduce((sum, request) => sum + request.bytesSent(), 0);
      const sentBytes = await settled(sent);
      const grown = memory() - before;
      // What was sent waits in the kernel's buffers, of which there are four on the way.
      expect(sentBytes / count).toBeLessThan(total / 2);
      // A connection holds some 0.7 MB here, the double's and the reader's own sides included, however much is sent.
      expect(grown, `${Math.round(grown / megabyte)} MB for ${count} readers`).toBeLessThan(
        (20 + count) * megabyte,
      );
      const waiting = patient.upstream.requests.slice(-count);
      for (const { socket } of readers) socket.destroy();
      expect((await Promise.all(waiting.map(({ closed }) => closed))).every(Boolean)).toBe(true);
      await expect
        .poll(async () => (await rowsOf(patient, by)).map(({ outcome }) => outcome), { timeout: 40_000 })
        .toEqual(Array.from({ length: count }, () => "client_closed"));
      patient.upstream.always({});
    },
    120_000,
  );

  test("is cut after a while, for it holds a provider's place", async () => {
    await using impatient = await startApi({ stallMs: 200 });
    const by = await impatient.makeTenant();
    impatient.upstream.always(flood);
    const reader = await openReader(impatient, by);
    const upstream = await impatient.upstream.nextRequest();
    expect(await upstream.closed).toBe(true);
    expect(await waitForRow(impatient, by)).toMatchObject([{ outcome: "client_closed" }]);
    reader.socket.destroy();
  });

  test("of a whole answer or of a file is cut, too, for that waits in memory", async () => {
    await using impatient = await startApi({ stallMs: 200 });
    const by = await impatient.makeTenant();
    // More than the kernel takes.
    const content = "x".repeat(40 * megabyte);
    impatient.upstream.next({ content: [content] });
    const { id } = await by.client.files.create({ file: new File([content], "a.txt"), purpose: "batch" });
    const before = impatient.logLines.length;
    const readers = [
      await openReader(impatient, by, "POST /v1/chat/completions", JSON.stringify(chat)),
      await openReader(impatient, by, `GET /v1/files/${id}/content`, ""),
    ];
    const lines = () => impatient.logLines.slice(before).filter((line) => line.includes('"msg":"request"'));
    await expect.poll(() => lines().length, { timeout: 10_000 }).toBe(readers.length);
    for (const line of lines()) expect(JSON.parse(line).status).toBe(499);
    expect(impatient.server.inProgress).toBe(0);
    // It was answered all the same.
    expect(await rowsOf(impatient, by)).toMatchObject([{ outcome: "completed" }]);
    for (const { socket } of readers) socket.destroy();
  });

  test("and one whose file comes from a storage that is silent for a while gets all of it", async () => {
    await using first = await startApi();
    const { storage } = first.serverOptions;
    const stallMs = 200;
    const silent: BlobStorage = {
      ...storage,
      async read(...of) {
        const whole = await storage.read(...of);
        return Readable.from(
          (async function* () {
            for await (const chunk of whole) {
              yield chunk;
              await delay(3 * stallMs);
            }
          })(),
        );
      },
    };
    await using impatient = await startApi({ stallMs, storage: silent });
    const by = await impatient.makeTenant();
    const content = "x".repeat(megabyte);
    const { id } = await by.client.files.create({ file: new File([content], "a.txt"), purpose: "batch" });
    expect(await (await by.client.files.content(id)).text()).toBe(content);
  });

  test("and one that is only slow gets all of it", async () => {
    await using impatient = await startApi({ stallMs: 300 });
    const by = await impatient.makeTenant();
    const content = "x".repeat(20 * megabyte);
    const { id } = await by.client.files.create({ file: new File([content], "a.txt"), purpose: "batch" });
    const { socket } = await openReader(impatient, by, `GET /v1/files/${id}/content`, "");
    let bytes = 0;
    const started = performance.now();
    socket.on("data", (text: unknown) => {
      bytes += String(text).length;
      // Some 30 rounds of 30 ms: three times what a reader that takes nothing is given.
      socket.pause();
      setTimeout(() => socket.resume(), bytes % (640 * 1024) < 65_536 ? 30 : 0);
    });
    socket.resume();
    await expect.poll(() => bytes, { timeout: 20_000 }).toBeGreaterThanOrEqual(content.length);
    expect(performance.now() - started).toBeGreaterThan(300);
    socket.destroy();
  });
});
