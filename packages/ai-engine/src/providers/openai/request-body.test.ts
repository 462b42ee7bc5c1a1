import { expect, test } from "vitest";
import type { ChatRequest } from "../../chat.ts";
import { createRequestBodies } from "./request-body.ts";

const request: ChatRequest = { model: "m", messages: [], seed: 1, store: true, metadata: { a: "b" } };
const sent = (body: object): unknown => JSON.parse(JSON.stringify(body));

test("what this platform keeps is not sent on, and what it does not know is", () => {
  const { plain, stream } = createRequestBodies("127.0.0.1");
  const given = { ...request, top_k: 3, stream: true, stream_options: { include_usage: false } };
  expect(sent(plain(given))).toEqual({ model: "m", messages: [], seed: 1, top_k: 3 });
  expect(sent(stream(given))).toEqual({
    model: "m",
    messages: [],
    seed: 1,
    top_k: 3,
    stream: true,
    stream_options: { include_usage: true },
  });
});

test("a tenant cannot choose where an upstream sends a request, or as whom", () => {
  const { plain, stream, embeddings } = createRequestBodies("127.0.0.1");
  const led = {
    ...request,
    api_base: "http://169.254.169.254/",
    api_key: "sk-other",
    extra_headers: { authorization: "Bearer sk-other" },
    fallbacks: [{ model: "other", api_base: "http://evil.example" }],
  };
  expect(sent(plain(led))).toEqual({ model: "m", messages: [], seed: 1 });
  expect(JSON.stringify(stream(led))).not.toMatch(/evil|other|169/);
  const { api_base, api_key } = led;
  expect(sent(embeddings({ model: "m", input: "text", api_base, api_key }))).toEqual({
    model: "m",
    input: "text",
  });
});

test.each(["api.openai.com", "eu.api.openai.com", "mine.openai.azure.com"])(
  "at %s the bound of an answer has the name that all models there know",
  (hostname) => {
    const { plain, stream } = createRequestBodies(hostname);
    for (const make of [plain, stream]) {
      const body = sent(make({ ...request, max_tokens: 9 }));
      expect(body).toMatchObject({ max_completion_tokens: 9 });
      expect(body).not.toHaveProperty("max_tokens");
      expect(sent(make({ ...request, max_completion_tokens: 8 }))).toMatchObject({
        max_completion_tokens: 8,
      });
      expect(sent(make({ ...request, max_tokens: null }))).not.toHaveProperty("max_completion_tokens");
    }
  },
);

test.each(["127.0.0.1", "notopenai.com", "openai.com.example.org"])(
  "at %s it is as the client wrote it",
  (hostname) => {
    const body = sent(createRequestBodies(hostname).plain({ ...request, max_tokens: 9 }));
    expect(body).toMatchObject({ max_tokens: 9 });
    expect(body).not.toHaveProperty("max_completion_tokens");
  },
);
