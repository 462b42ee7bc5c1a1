// What a request may ask of the built-in model.
import { describe, expect, test } from "vitest";
import type { ChatRequest } from "../../chat.ts";
import { readChatSettings } from "./chat-settings.ts";

const request = (more: Record<string, unknown> = {}): ChatRequest => ({ model: "m", messages: [], ...more });

describe("readChatSettings", () => {
  test("what a request leaves out has OpenAI's defaults, and a seed of its own", () => {
    const settings = readChatSettings(request());
    expect(settings).toMatchObject({
      maxTokens: undefined,
      stops: [],
      temperature: 1,
      topP: 1,
      seedGiven: false,
      frequencyPenalty: 0,
      presencePenalty: 0,
      responseFormat: { type: "text" },
    });
    const seeds = new Set(Array.from({ length: 20 }, () => readChatSettings(request()).seed));
    expect(seeds.size).toBeGreaterThan(15);
  });

  test("max_completion_tokens goes before max_tokens, and stop may be one text or several", () => {
    expect(readChatSettings(request({ max_tokens: 3 })).maxTokens).toBe(3);
    expect(readChatSettings(request({ max_tokens: 3, max_completion_tokens: 4 })).maxTokens).toBe(4);
    expect(readChatSettings(request({ stop: "a" })).stops).toEqual(["a"]);
    expect(readChatSettings(request({ stop: ["a", "b"] })).stops).toEqual(["a", "b"]);
  });

  test.each([0, 7, -1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 1.5])(
    "the seed %d becomes one of llama.cpp's, the same each time, never its mark for a random one",
    (seed) => {
      const settings = readChatSettings(request({ seed }));
      expect(settings.seedGiven).toBe(true);
      expect(Number.isInteger(settings.seed)).toBe(true);
      expect(settings.seed).toBeGreaterThanOrEqual(0);
      expect(settings.seed).toBeLessThan(2 ** 32 - 1);
      expect(readChatSettings(request({ seed })).seed).toBe(settings.seed);
    },
  );

  test.each([
    ["tools", [{ type: "function" }], "The model 'm' does not do tools."],
    ["functions", [{ name: "f" }], "does not do functions"],
    ["n", 2, "does not do several choices at once"],
    ["logprobs", true, "does not do logprobs"],
    ["top_logprobs", 2, "does not do top_logprobs"],
    ["logit_bias", { 5: 1 }, "does not do logit_bias"],
    ["audio", { voice: "x" }, "does not do audio"],
  ])("%s is refused by name", (param, value, message) => {
    expect(() => readChatSettings(request({ [param]: value }))).toThrow(
      expect.objectContaining({
        code: "invalid_request",
        details: expect.objectContaining({ param }),
        message: expect.stringContaining(message),
      }),
    );
  });

  test("fields that ask for nothing are no reason to refuse", () => {
    const nothing = { tools: [], functions: null, n: 1, logprobs: false, logit_bias: {}, audio: null };
    expect(readChatSettings(request(nothing)).temperature).toBe(1);
  });
});
