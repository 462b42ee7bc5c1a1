// The double against the official client, so that what the platform is tested with is the protocol and not our idea
// of it.
import OpenAI from "openai";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startUpstream, type Upstream } from "./upstream.ts";

let upstream: Upstream;
let client: OpenAI;
const request = { model: "m", messages: [{ role: "user" as const, content: "Hi" }] };

beforeEach(async () => {
  upstream = await startUpstream();
  client = new OpenAI({ baseURL: upstream.baseUrl, apiKey: "k", maxRetries: 0 });
});
afterEach(() => upstream.close());

test("the official client reads its answers", async () => {
  const completion = await client.chat.completions.create(request);
  expect(completion.choices[0]?.message.content).toBe("Hello, world");
  const { data } = await client.embeddings.create({ model: "e", input: ["a", "b"] });
  expect(data.map(({ embedding }) => embedding)).toEqual([
    [0.25, -0.5, 1],
    [0.25, -0.5, 1],
  ]);
  expect((await client.models.list()).data[0]?.id).toBe("double");
});

test("the official client reads its streams, with usage when it asks", async () => {
  const stream = await client.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe("Hello, world");
  expect(chunks.at(-1)?.usage?.total_tokens).toBe(12);
  const silent = await Array.fromAsync(await client.chat.completions.create({ ...request, stream: true }));
  expect(silent.some(({ usage }) => usage)).toBe(false);
});

test("faults come in the order: next, of the model, always", async () => {
  upstream.always({ status: 500 });
  upstream.forModel("m", { status: 429, retryAfter: "1" });
  upstream.next({ status: 418 });
  const statusOf = (model: string) =>
    client.chat.completions.create({ ...request, model }).then(
      () => 200,
      (error: { status?: number }) => error.status,
    );
  expect([await statusOf("m"), await statusOf("m"), await statusOf("other")]).toEqual([418, 429, 500]);
});

test("an address that it does not have is 404", async () => {
  await expect(client.get("/nothing")).rejects.toMatchObject({ status: 404 });
});

test("it tells what was asked and when a client goes away", async () => {
  upstream.always({ hang: "before-headers" });
  const controller = new AbortController();
  const asked = client.chat.completions.create(request, { signal: controller.signal });
  const seen = await upstream.nextRequest();
  expect(seen).toMatchObject({ method: "POST", path: "/v1/chat/completions", body: request });
  expect(upstream.openConnections).toBe(1);
  controller.abort();
  await expect(asked).rejects.toThrow();
  expect(await seen.closed).toBe(true);
  await upstream.allClosed();
  expect([upstream.openConnections, upstream.requests.length]).toEqual([0, 1]);
});

test("a request can be awaited before it comes", async () => {
  const waiting = upstream.nextRequest();
  await client.chat.completions.create(request);
  expect((await waiting).body).toEqual(request);
});
