// The upstream with OpenAI's own client, which is what providers' clients are measured by.
import OpenAI from "openai";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startUpstream, type Upstream } from "./upstream.ts";

let upstream: Upstream;
let client: OpenAI;
beforeEach(async () => {
  upstream = await startUpstream();
  client = new OpenAI({ baseURL: upstream.baseUrl, apiKey: "drill", maxRetries: 0 });
});
afterEach(() => upstream.close());

const messages = [{ role: "user", content: "Hi" }] as const;
const chat = () => client.chat.completions.create({ model: "m", messages: [...messages] });

async function stream(): Promise<{ text: string; tokens: number | undefined; finish: string | null }> {
  const chunks = await client.chat.completions.create({
    model: "m",
    messages: [...messages],
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let tokens: number | undefined;
  let finish: string | null = null;
  for await (const { choices, usage } of chunks) {
    text += choices[0]?.delta.content ?? "";
    finish = choices[0]?.finish_reason ?? finish;
    tokens = usage?.total_tokens ?? tokens;
  }
  return { text, tokens, finish };
}

test("a healthy one answers chats, streams and the list of models", async () => {
  const answer = await chat();
  expect(answer.choices[0]?.message.content).toBe("This is a drill.");
  expect(answer.usage?.total_tokens).toBe(13);
  expect(await stream()).toEqual({ text: "This is a drill.", tokens: 13, finish: "stop" });
  expect((await client.models.list()).data).toEqual([]);
  await expect(client.embeddings.create({ model: "m", input: "x" })).rejects.toThrow("404");
});

test("errors meet each nth call", async () => {
  await upstream.setFault({ kind: "error", status: 500, every: 2 });
  await chat();
  await expect(chat()).rejects.toThrow("500 The vendor is broken");
  await stream();
  await expect(stream()).rejects.toThrow("500");
  await upstream.setFault(undefined);
  await chat();
  await chat();
});

test("a broken stream gives its first token and is cut", async () => {
  await upstream.setFault({ kind: "broken-stream", every: 1 });
  const chunks = await client.chat.completions.create({ model: "m", messages: [...messages], stream: true });
  let text = "";
  const read = (async () => {
    for await (const { choices } of chunks) text += choices[0]?.delta.content ?? "";
  })();
  await expect(read).rejects.toThrow();
  expect(text).toBe("This ");
  await chat();
});

test("a slow one takes its time", async () => {
  await upstream.setFault({ kind: "slow", beforeMs: 300 });
  const startedAt = performance.now();
  await chat();
  expect(performance.now() - startedAt).toBeGreaterThan(290);
});

test("one that refuses connections takes them at the same address when it is mended", async () => {
  await chat();
  await upstream.setFault({ kind: "refused" });
  await expect(chat()).rejects.toThrow("Connection error");
  await upstream.setFault(undefined);
  expect((await chat()).choices).toHaveLength(1);
});
