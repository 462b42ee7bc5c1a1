import type { ModelInfo } from "@ectus/ai-engine";
import { expect, test } from "vitest";
import type { ChatBody } from "./chat-body.ts";
import { reserveForChat } from "./token-reservation.ts";

const model = (more: object = {}): ModelInfo =>
  ({ id: "m", contextTokens: null, maxOutputTokens: null, ...more }) as unknown as ModelInfo;
const body = (more: object = {}): ChatBody =>
  ({ model: "m", messages: [{ role: "user", content: "hello" }], ...more }) as ChatBody;
const image = {
  role: "user",
  content: [{ type: "image_url", image_url: { url: "https://example.org/a.png" } }],
};
const parts = { role: "user", content: [{ type: "text", text: "hello" }] };

test("an answer is bounded by the request, then by the model, then by its context", () => {
  const described = model({ contextTokens: 4_096, maxOutputTokens: 1_000 });
  expect(
    reserveForChat(body({ max_completion_tokens: 10, max_tokens: 20 }), 100, described).outputTokens,
  ).toBe(10);
  expect(reserveForChat(body({ max_tokens: 20 }), 100, described).outputTokens).toBe(20);
  expect(reserveForChat(body(), 100, described).outputTokens).toBe(1_000);
  expect(reserveForChat(body(), 100, model({ contextTokens: 4_096 })).outputTokens).toBe(4_096);
  expect(reserveForChat(body(), 100, model()).outputTokens).toBe(16_384);
  expect(reserveForChat(body({ max_tokens: 1_000_000 }), 100, described).outputTokens).toBe(4_096);
});

test("text holds at most a token a byte, and no more than the context", () => {
  const small = model({ contextTokens: 500 });
  expect(reserveForChat(body({ max_tokens: 1 }), 100, small).tokens).toBe(100 + 64 + 1);
  expect(reserveForChat(body({ max_tokens: 1, messages: [parts] }), 100, small).tokens).toBe(100 + 64 + 1);
  expect(reserveForChat(body({ max_tokens: 1 }), 10_000, small).tokens).toBe(500);
});

test("an image may be worth the whole context", () => {
  const described = model({ contextTokens: 4_096 });
  expect(reserveForChat(body({ max_tokens: 1, messages: [parts, image] }), 100, described).tokens).toBe(
    4_096,
  );
  expect(reserveForChat(body({ max_tokens: 1, messages: [image] }), 100, model()).tokens).toBe(131_073);
});

test("every one of several answers is reserved", () => {
  expect(reserveForChat(body({ max_tokens: 10, n: 3 }), 100, model()).tokens).toBe(164 + 30);
  // Together with the request, each has at most the context.
  const small = model({ contextTokens: 500 });
  expect(reserveForChat(body({ max_tokens: 10, n: 3 }), 100, small).tokens).toBe(164 + 30);
  expect(reserveForChat(body({ n: 3 }), 100, small).tokens).toBe(1_500);
});
