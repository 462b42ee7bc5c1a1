// The stream of a chat whose call was aborted before anybody read it.
import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { createCalls } from "./call.ts";
import { toStream } from "./chat-answer.ts";
import { type GenerationEnd, noTokens } from "./generation.ts";

async function* answer(): AsyncGenerator<string, GenerationEnd, undefined> {
  yield "a";
  return { finishReason: "stop", promptTokens: 1, cachedTokens: 0, completionTokens: 2 };
}

test("an abort between the first piece and the stream gives the sequence back", async () => {
  const controller = new AbortController();
  const call = createCalls().open(controller.signal);
  const pieces = answer();
  const first = await pieces.next();
  controller.abort();
  let released = false;
  const release = () => {
    released = true;
  };
  const stream = toStream({ model: "m", pieces, first, counts: noTokens(), call, release }, "p", 1_000);
  await expect.poll(() => released).toBe(true);
  await expect(stream[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(EctusError);
});
