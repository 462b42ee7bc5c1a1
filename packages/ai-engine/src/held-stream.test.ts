import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import type { ChatCompletionChunk } from "./chat.ts";
import { holdStream } from "./held-stream.ts";
import { chunkOf } from "./test-engine.ts";

const chunk = chunkOf({ content: "x" });

/** A source that answers each `next` when the test says so, and a meter that records what it is told. */
function setUp() {
  const answers: PromiseWithResolvers<IteratorResult<ChatCompletionChunk>>[] = [];
  const closing = Promise.withResolvers<void>();
  const source: AsyncIterator<ChatCompletionChunk> & AsyncIterable<ChatCompletionChunk> = {
    next() {
      const answer = Promise.withResolvers<IteratorResult<ChatCompletionChunk>>();
      answers.push(answer);
      return answer.promise;
    },
    async return() {
      await closing.promise;
      return { value: undefined, done: true };
    },
    [Symbol.asyncIterator]: () => source,
  };
  const told: string[] = [];
  const controller = new AbortController();
  const stream = holdStream(source, controller.signal, (outcome) => void told.push(outcome), {
    waits: () => void told.push("waits"),
    resumes: () => void told.push("resumes"),
    chunk: () => void told.push("chunk"),
    settled: () => void told.push("settled"),
  });
  return { stream, answers, closing, controller, told };
}

test("tells of waits and chunks, of the end once, and that nothing more comes", async () => {
  const { stream, answers, told } = setUp();
  const reading = Array.fromAsync(stream);
  answers[0]?.resolve({ value: chunk, done: false });
  await expect.poll(() => answers.length).toBe(2);
  answers[1]?.resolve({ value: undefined, done: true });
  expect(await reading).toEqual([chunk]);
  expect(told).toEqual(["waits", "resumes", "chunk", "waits", "resumes", "success", "settled"]);
});

test("has not settled before the provider answered, though the client left", async () => {
  const { stream, answers, controller, told } = setUp();
  const reading = stream.next();
  controller.abort();
  expect(told).toEqual(["waits", "neutral"]);
  // It came too late to be stopped.
  answers[0]?.resolve({ value: chunk, done: false });
  await reading;
  expect(told).toEqual(["waits", "neutral", "resumes", "chunk", "settled"]);
});

test("has not settled before the provider ended its work for a reader that gives up", async () => {
  const { stream, closing, controller, told } = setUp();
  const returning = stream.return?.();
  expect(told).toEqual(["neutral"]);
  controller.abort();
  expect(told).toEqual(["neutral"]);
  closing.resolve();
  await returning;
  expect(told).toEqual(["neutral", "settled"]);
});

test("settles though the provider fails to end", async () => {
  const { stream, closing, told } = setUp();
  closing.reject(new EctusError("internal_error"));
  await expect(stream.return?.()).rejects.toMatchObject({ code: "internal_error" });
  expect(told).toEqual(["neutral", "settled"]);
});

test("settles at once when nobody reads", () => {
  const { controller, told } = setUp();
  controller.abort();
  expect(told).toEqual(["neutral", "settled"]);
});
