import type { ChatCompletionChunk } from "@ectus/ai-engine";
import { expect, test } from "vitest";
import { createChunkAccumulator } from "./chunk-accumulator.ts";

const chunk = (choices: object[], more: object = {}): ChatCompletionChunk =>
  ({
    id: "x",
    object: "chat.completion.chunk",
    created: 7,
    model: "up",
    choices,
    ...more,
  }) as ChatCompletionChunk;
const accumulate = (...chunks: ChatCompletionChunk[]) => {
  const accumulator = createChunkAccumulator({ id: "chatcmpl-1", model: "m" }, "p");
  for (const one of chunks) accumulator.add(one);
  return accumulator.completion();
};

test("an answer that is more than can be stored is an error, be it one text or many small pieces", () => {
  const add = (choice: object, times: number) => () => {
    const one = chunk([{ index: 0, finish_reason: null, ...choice }]);
    const accumulator = createChunkAccumulator({ id: "chatcmpl-1", model: "m" }, "p");
    for (let time = 0; time < times; time += 1) accumulator.add(one);
  };
  const tooMuch = expect.objectContaining({ code: "stream_interrupted" });
  const megabyte = "x".repeat(1024 * 1024);
  expect(add({ delta: { content: megabyte } }, 15)).not.toThrow();
  expect(add({ delta: { content: megabyte } }, 17)).toThrow(tooMuch);
  expect(add({ delta: { annotations: [megabyte] } }, 17)).toThrow(tooMuch);
  expect(add({ delta: {}, logprobs: { content: [megabyte] } }, 17)).toThrow(tooMuch);
  expect(add({ delta: { content: "x" } }, 600_000)).toThrow(tooMuch);
  const call = { index: 0, function: { arguments: megabyte } };
  expect(add({ delta: { tool_calls: [call] } }, 17)).toThrow(tooMuch);
});

test("texts are put together, other fields are the last that came, the role is not repeated", () => {
  const completion = accumulate(
    chunk([{ index: 0, delta: { role: "assistant", content: "", refusal: null }, finish_reason: null }]),
    chunk([
      { index: 0, delta: { role: "assistant", content: "Hel", reasoning_content: "a" }, finish_reason: null },
    ]),
    chunk([
      { index: 0, delta: { content: "lo", reasoning_content: "b", annotations: [1] }, finish_reason: null },
    ]),
    chunk([{ index: 0, delta: {}, finish_reason: "stop" }]),
    chunk([], { usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 } }),
  );
  expect(completion).toEqual({
    id: "chatcmpl-1",
    model: "m",
    object: "chat.completion",
    created: 7,
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: "Hello", reasoning_content: "ab", annotations: [1] },
        logprobs: null,
        finish_reason: "stop",
      },
    ],
    usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
  });
});

test("choices that come mixed are sorted, log probabilities are joined", () => {
  const logprobs = (token: string) => ({ content: [{ token, logprob: -1 }] });
  const completion = accumulate(
    chunk([{ index: 1, delta: { content: "B" }, finish_reason: null, logprobs: logprobs("B") }]),
    chunk([{ index: 0, delta: { content: "A" }, finish_reason: null, logprobs: null }]),
    chunk([{ index: 1, delta: { content: "b" }, finish_reason: "length", logprobs: logprobs("b") }]),
  );
  expect(
    completion.choices.map(({ index, message, logprobs: all }) => [index, message.content, all]),
  ).toEqual([
    [0, "A", null],
    [
      1,
      "Bb",
      {
        content: [
          { token: "B", logprob: -1 },
          { token: "b", logprob: -1 },
        ],
      },
    ],
  ]);
});

test("tool calls are put together by their index, also where a provider leaves it out", () => {
  const call = (piece: object) => chunk([{ index: 0, delta: { tool_calls: [piece] }, finish_reason: null }]);
  const completion = accumulate(
    call({ index: 0, id: "a", type: "function", function: { name: "f", arguments: "{" } }),
    call({ index: 1, id: "b", type: "function", function: { name: "g", arguments: "" } }),
    call({ index: 0, function: { arguments: "}" } }),
    call({ index: 1, function: { arguments: "{}" } }),
    call({ id: "c", type: "function", function: { name: "h", arguments: "{}" } }),
    chunk([{ index: 0, delta: { tool_calls: null }, finish_reason: "tool_calls" }]),
  );
  expect(completion.choices[0]?.message.tool_calls).toEqual([
    { id: "a", type: "function", function: { name: "f", arguments: "{}" } },
    { id: "b", type: "function", function: { name: "g", arguments: "{}" } },
    { id: "c", type: "function", function: { name: "h", arguments: "{}" } },
  ]);
});

test("nothing at all is a completion without choices", () => {
  expect(accumulate()).toMatchObject({ choices: [], usage: null });
});

test("a tool call with an index that no array should have is a fault of the provider", () => {
  for (const index of [4_000_000_000, 1, -1, 0.5, "0", null]) {
    const piece = { index, id: "a", type: "function", function: { name: "f", arguments: "{}" } };
    expect(() =>
      accumulate(chunk([{ index: 0, delta: { tool_calls: [piece] }, finish_reason: null }])),
    ).toThrow("unusable index");
  }
});
