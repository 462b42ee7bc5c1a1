// The provider over the real model, as the engine calls it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { copyFile, link, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { createLogging, EctusError } from "@ectus/core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import type { ChatCompletion, ChatCompletionChunk, ChatRequest } from "../../chat.ts";
import { createLlamaCppProvider, type LlamaCppOptions, type LlamaCppProvider } from "./index.ts";
import { defaultThreads } from "./provider.ts";
import { modelForTests } from "./test-model.ts";

const path = await modelForTests();
const lines: string[] = [];
const log = createLogging({
  levels: { default: "info", modules: {} },
  format: "json",
  destination: { write: (line) => void lines.push(line) },
}).module("ai");
const never = new AbortController().signal;

const chat = (content: string, more: Partial<ChatRequest> = {}): ChatRequest => ({
  model: "m",
  messages: [{ role: "user", content }],
  max_tokens: 8,
  temperature: 0,
  // A seed makes every answer start from an empty sequence, so that two of them can be compared to the letter.
  seed: 1,
  ...more,
});

const textOf = (completion: ChatCompletion) => String(completion.choices[0]?.message.content);
const endOf = (completion: ChatCompletion) => completion.choices[0]?.finish_reason;

async function collect(stream: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletionChunk[]> {
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const failure = async (work: Promise<unknown>): Promise<EctusError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof EctusError)) throw new Error(`expected an EctusError, got ${error}`);
  return error;
};

describe.skipIf(path === undefined)("createLlamaCppProvider", () => {
  let provider: LlamaCppProvider;
  let scope: string | undefined;
  let loads = 0;
  const optionsWith = (more: Partial<LlamaCppOptions> = {}): LlamaCppOptions => ({
    name: "builtin",
    models: { m: path ?? "" },
    sequences: 1,
    queueBound: 1,
    contextTokens: 512,
    threads: 1,
    cacheScope: () => scope,
    log,
    ...more,
  });

  beforeAll(async () => {
    provider = createLlamaCppProvider(optionsWith({ sequences: 2, onModelLoaded: () => loads++ }));
    await Promise.all([provider.preload(), provider.preload()]);
  });
  afterAll(() => provider.close());

  /** Nothing is held any more: what a test has left would otherwise show in the next one. */
  const idle = () => expect.poll(() => provider.load().m).toEqual({ active: 0, waiting: 0 });

  describe("chat", () => {
    test("answers in OpenAI's shape, with the tokenizer's counts", async () => {
      const completion = await provider.chat(chat("Hi"), { signal: never });
      expect(completion).toMatchObject({
        object: "chat.completion",
        model: "m",
        choices: [{ index: 0, message: { role: "assistant" }, finish_reason: "length" }],
        // 31 is what the model's tokenizer makes of its template around "Hi".
        usage: {
          prompt_tokens: 31,
          completion_tokens: 8,
          total_tokens: 39,
          prompt_tokens_details: { cached_tokens: 0 },
        },
      });
      expect(completion.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
      expect(textOf(completion).length).toBeGreaterThan(5);
      expect(loads).toBe(1);
    });

    test("the same seed gives the same answer, another seed another one, temperature 0 one for all", async () => {
      const ask = async (more: Partial<ChatRequest>) =>
        textOf(await provider.chat(chat("Tell me a story", more), { signal: never }));
      const first = await ask({ temperature: 1, seed: 42, max_tokens: 12 });
      expect(await ask({ temperature: 1, seed: 42, max_tokens: 12 })).toBe(first);
      const others = [await ask({ temperature: 1, seed: 1 }), await ask({ temperature: 1, seed: 2 })];
      expect(others.some((other) => !first.startsWith(other))).toBe(true);
      expect(await ask({ seed: 1 })).toBe(await ask({ seed: 2 }));
    });

    test("ends as the model ends its turn", async () => {
      const completion = await provider.chat(chat("Hi", { max_tokens: 60 }), { signal: never });
      expect(endOf(completion)).toBe("stop");
      expect(completion.usage?.completion_tokens).toBeLessThan(60);
      expect(textOf(completion)).not.toContain("<|im_end|>");
    });

    test("a stop text across tokens ends the answer before it", async () => {
      const whole = textOf(
        await provider.chat(chat("Count from 1 to 9.", { max_tokens: 16 }), { signal: never }),
      );
      const stop = whole.slice(5, 9);
      const completion = await provider.chat(
        chat("Count from 1 to 9.", { max_tokens: 16, stop: ["§§", stop] }),
        {
          signal: never,
        },
      );
      expect(textOf(completion)).toBe(whole.slice(0, whole.indexOf(stop)));
      expect(endOf(completion)).toBe("stop");
    });

    test("a JSON schema holds by grammar, whatever the temperature", async () => {
      const schema = {
        type: "object",
        properties: { color: { enum: ["red", "green"] }, count: { type: "integer" } },
        required: ["color", "count"],
        additionalProperties: false,
      };
      for (const temperature of [0, 1.8]) {
        const completion = await provider.chat(
          chat("Apples?", {
            temperature,
            max_tokens: 60,
            response_format: { type: "json_schema", json_schema: { name: "apples", schema, strict: true } },
          }),
          { signal: never },
        );
        const value = JSON.parse(textOf(completion));
        expect(["red", "green"]).toContain(value.color);
        expect(Number.isInteger(value.count)).toBe(true);
        expect(endOf(completion)).toBe("stop");
      }
    });

    test("json_object gives an object", async () => {
      const completion = await provider.chat(
        chat("Give me a JSON object with a name.", {
          max_tokens: 80,
          response_format: { type: "json_object" },
        }),
        { signal: never },
      );
      const text = textOf(completion);
      expect(text.startsWith("{")).toBe(true);
      if (endOf(completion) === "stop") expect(JSON.parse(text)).toBeTypeOf("object");
    });

    test("penalties change what is said", async () => {
      const ask = async (penalty: number) =>
        textOf(
          await provider.chat(
            chat("Count from 1 to 20.", {
              max_tokens: 24,
              frequency_penalty: penalty,
              presence_penalty: penalty,
            }),
            { signal: never },
          ),
        );
      expect(await ask(2)).not.toBe(await ask(0));
    });

    test("a client that leaves before the whole answer is told to have used what was used by then", async () => {
      const controller = new AbortController();
      const whole = failure(
        provider.chat(chat("Tell a long story", { max_tokens: 400 }), { signal: controller.signal }),
      );
      // A second chat runs beside it: when that has ended, the first one has begun and not ended.
      const { usage } = await provider.chat(chat("Tell a long story", { max_tokens: 8 }), { signal: never });
      controller.abort();
      const { code, details } = await whole;
      expect(code).toBe("client_closed_request");
      expect(details.usage).toMatchObject({ prompt_tokens: usage?.prompt_tokens });
      const { completion_tokens } = details.usage as { completion_tokens: number };
      expect(completion_tokens).toBeGreaterThan(0);
      expect(completion_tokens).toBeLessThan(400);
      await idle();
    });

    test("a prompt longer than the context is refused with both numbers", async () => {
      const error = await failure(provider.chat(chat("word ".repeat(600)), { signal: never }));
      expect(error.code).toBe("context_length_exceeded");
      expect(error.details.requestedTokens).toBeGreaterThan(600);
      const huge = await failure(provider.chat(chat(" ".repeat(5_000_000)), { signal: never }));
      expect(huge.details).toEqual({
        param: "messages",
        contextTokens: 512,
        requestedTokens: "at least 61731",
      });
      await idle();
    });

    test("what the model cannot do and models that are not here are refused", async () => {
      const tools = await failure(
        provider.chat(chat("x", { tools: [{ type: "function" }] }), { signal: never }),
      );
      expect([tools.code, tools.details.param]).toEqual(["invalid_request", "tools"]);
      const schema = {
        type: "json_schema",
        json_schema: { name: "x", schema: { type: "string", pattern: "x" } },
      };
      const format = await failure(
        provider.chat(chat("x", { response_format: schema as ChatRequest["response_format"] & object }), {
          signal: never,
        }),
      );
      expect([format.code, format.details.param]).toEqual(["invalid_request", "response_format"]);
      const model = await failure(provider.chat(chat("x", { model: "gpt-9" }), { signal: never }));
      expect(model.code).toBe("model_not_found");
      await idle();
    });
  });

  describe("what a sequence holds", () => {
    const cached = async (request: ChatRequest) => {
      const { usage } = await provider.chat(request, { signal: never });
      return usage?.prompt_tokens_details?.cached_tokens;
    };
    const ask = (content: string) => chat(content, { seed: null, max_tokens: 1 });

    test("is used again within one scope only, and never for a request with a seed", async () => {
      scope = "tenant-a";
      expect(await cached(ask("What is the tallest mountain?"))).toBe(0);
      expect(await cached(ask("What is the tallest mountain?"))).toBeGreaterThan(30);
      expect(await cached(ask("What is the tallest tower?"))).toBeGreaterThan(25);
      expect(await cached(chat("What is the tallest tower?", { max_tokens: 1 }))).toBe(0);
      scope = "tenant-b";
      expect(await cached(ask("What is the tallest tower?"))).toBe(0);
      scope = "tenant-c";
      expect(await cached(ask("What is the tallest tower?"))).toBe(0);
      scope = undefined;
      expect(await cached(ask("What is the tallest tower?"))).toBe(0);
      expect(await cached(ask("What is the tallest tower?"))).toBe(0);
    });
  });

  describe("streamChat", () => {
    test("gives the same text as chat: role first, then pieces, then the reason, then the usage", async () => {
      const request = chat("Say hi with an emoji 🎉", { max_tokens: 16 });
      const whole = await provider.chat(request, { signal: never });
      const chunks = await collect(await provider.streamChat(request, { signal: never }));
      const [first, ...rest] = chunks;
      const usage = rest.pop();
      const last = rest.pop();
      expect(first?.choices).toMatchObject([
        { index: 0, delta: { role: "assistant", content: "" }, finish_reason: null },
      ]);
      expect(last?.choices).toMatchObject([{ index: 0, delta: {}, finish_reason: endOf(whole) }]);
      expect(usage).toMatchObject({ choices: [], usage: whole.usage });
      expect(rest.map(({ choices }) => choices[0]?.delta.content).join("")).toBe(textOf(whole));
      expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
      expect(chunks.every(({ object }) => object === "chat.completion.chunk")).toBe(true);
      await idle();
    });

    test("a client that leaves ends the generation, and its sequence is free", async () => {
      const controller = new AbortController();
      const stream = await provider.streamChat(chat("Tell a long story", { max_tokens: 400 }), {
        signal: controller.signal,
      });
      const iterator = stream[Symbol.asyncIterator]();
      for (let read = 0; read < 3; read += 1) await iterator.next();
      const pulled = failure(iterator.next());
      controller.abort();
      expect((await pulled).code).toBe("client_closed_request");
      expect((await failure(iterator.next())).code).toBe("client_closed_request");
      await idle();
      // The role, two pieces, and a third one that was on its way; a piece may be of several tokens.
      const { prompt_tokens, completion_tokens } = stream.usageSoFar?.() ?? {};
      const { usage } = await provider.chat(chat("Tell a long story", { max_tokens: 1 }), { signal: never });
      expect(prompt_tokens).toBe(usage?.prompt_tokens);
      expect(completion_tokens).toBeGreaterThanOrEqual(2);
      expect(completion_tokens).toBeLessThan(20);
    });

    test("a client that leaves before it reads leaves nothing behind", async () => {
      const controller = new AbortController();
      await provider.streamChat(chat("Hi"), { signal: controller.signal });
      expect(provider.load().m?.active).toBe(1);
      controller.abort();
      await idle();
    });

    test("a client that leaves as the first piece comes leaves nothing behind", async () => {
      for (let turn = 0; turn < 5; turn += 1) {
        const controller = new AbortController();
        // The abort lands between the first piece and the stream's own look at the signal.
        const stream = provider.streamChat(chat("Hi"), { signal: controller.signal });
        await stream.then(
          () => controller.abort(),
          () => undefined,
        );
        expect((await failure((await stream)[Symbol.asyncIterator]().next())).code).toBe(
          "client_closed_request",
        );
        await idle();
      }
    });

    test("a reader that stops in the middle frees the sequence", async () => {
      for await (const chunk of await provider.streamChat(chat("Hi"), { signal: never })) {
        if (chunk.choices[0]?.delta.content) break;
      }
      await idle();
    });

    test("a reader that pauses too long loses its place", async () => {
      const impatient = createLlamaCppProvider(optionsWith({ readerTimeoutMs: 20 }));
      const stream = await impatient.streamChat(chat("Hi"), { signal: never });
      await expect.poll(() => impatient.load().m?.active).toBe(0);
      const error = await failure(stream[Symbol.asyncIterator]().next());
      expect(error.code).toBe("stream_interrupted");
      await impatient.close();
    });
  });

  describe("admission", () => {
    test("no more chats than sequences run, one more than the queue holds is overloaded, leaving frees a place", async () => {
      const small = createLlamaCppProvider(optionsWith());
      await small.preload();
      const [one, two] = [new AbortController(), new AbortController()];
      const running = await small.streamChat(chat("Hi"), { signal: one.signal });
      const waiting = failure(small.chat(chat("Hi"), { signal: two.signal }));
      await expect.poll(() => small.load().m).toEqual({ active: 1, waiting: 1 });
      const refused = await failure(small.chat(chat("Hi"), { signal: never }));
      expect(refused.code).toBe("overloaded");
      expect(refused.details.retryAfterSeconds).toBeGreaterThanOrEqual(1);
      two.abort();
      expect(await waiting).toMatchObject({
        code: "client_closed_request",
        details: { usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 } },
      });
      const next = small.chat(chat("Hi", { max_tokens: 2 }), { signal: never });
      await collect(running);
      expect((await next).usage?.completion_tokens).toBe(2);
      await small.close();
    });

    test("chats run side by side in their own sequences", async () => {
      const answers = await Promise.all(
        ["Hi", "Count from 1 to 9."].map((content) => provider.chat(chat(content), { signal: never })),
      );
      expect(answers.map(({ usage }) => usage?.prompt_tokens)).toEqual([31, expect.any(Number)]);
      expect(textOf(answers[0] as ChatCompletion)).not.toBe(textOf(answers[1] as ChatCompletion));
    });

    test("a request whose client is gone already does not start", async () => {
      const error = await failure(provider.chat(chat("Hi"), { signal: AbortSignal.abort() }));
      expect(error.code).toBe("client_closed_request");
      await idle();
    });
  });

  describe("loading", () => {
    test("a model that cannot be loaded is unavailable with the reason, and is tried again", async () => {
      const folder = await mkdtemp(join(tmpdir(), "ectus-load-"));
      const file = join(folder, "model.gguf");
      const late = createLlamaCppProvider(optionsWith({ models: { m: file }, preload: true }));
      const error = await failure(late.chat(chat("Hi"), { signal: never }));
      expect(error.code).toBe("model_unavailable");
      expect(error.message).toMatch(/ENOENT|model\.gguf/);
      expect((await failure(late.embed({ model: "m", input: "x" }, { signal: never }))).code).toBe(
        "model_unavailable",
      );
      await link(path ?? "", file).catch(() => copyFile(path ?? "", file));
      expect(
        (await late.chat(chat("Hi", { max_tokens: 1 }), { signal: never })).usage?.completion_tokens,
      ).toBe(1);
      await expect
        .poll(() => lines.some((line) => line.includes("could not be loaded")), { timeout: 5_000 })
        .toBe(true);
      await late.close();
      await rm(folder, { recursive: true });
    });

    test("a load that fails while the process is being stopped is not reported", async () => {
      vi.useFakeTimers({ toFake: ["setTimeout"] });
      onTestFinished(() => void vi.useRealTimers());
      const stopped = createLlamaCppProvider(
        optionsWith({ models: { m: "/nowhere/of-a-stop.gguf" }, preload: true }),
      );
      expect((await failure(stopped.chat(chat("Hi"), { signal: never }))).code).toBe("model_unavailable");
      await stopped.close();
      vi.advanceTimersByTime(10_000);
      expect(lines.join("")).not.toContain("of-a-stop.gguf");
    });

    test("a client that leaves while the model loads is let go at once", async () => {
      const slow = createLlamaCppProvider(optionsWith());
      const controller = new AbortController();
      const waiting = failure(slow.chat(chat("Hi"), { signal: controller.signal }));
      await nextTurn();
      controller.abort();
      expect((await waiting).code).toBe("client_closed_request");
      await slow.close();
    });

    test("closing while a model loads waits for it and frees it", async () => {
      const loading = createLlamaCppProvider(optionsWith({ preload: true }));
      const waiting = failure(loading.chat(chat("Hi"), { signal: never }));
      await nextTurn();
      await loading.close();
      expect((await waiting).code).toBe("shutting_down");
    });

    test("concurrent first calls share one load", async () => {
      let count = 0;
      const fresh = createLlamaCppProvider(optionsWith({ sequences: 2, onModelLoaded: () => count++ }));
      const requests = ["a", "b"].map((content) =>
        fresh.chat(chat(content, { max_tokens: 1 }), { signal: never }),
      );
      await Promise.all([...requests, fresh.embed({ model: "m", input: "x" }, { signal: never })]);
      expect(count).toBe(1);
      await fresh.close();
    });
  });

  describe("close", () => {
    test("ends what runs and waits, refuses what comes, and can be called twice", async () => {
      const closing = createLlamaCppProvider(optionsWith());
      const stream = await closing.streamChat(chat("Tell a long story", { max_tokens: 300 }), {
        signal: never,
      });
      const iterator = stream[Symbol.asyncIterator]();
      await iterator.next();
      const pulled = failure(iterator.next().then(() => iterator.next()));
      const waiting = failure(closing.chat(chat("Hi"), { signal: never }));
      await Promise.all([closing.close(), closing.close()]);
      expect((await pulled).code).toBe("shutting_down");
      expect((await waiting).code).toBe("shutting_down");
      expect((await failure(closing.chat(chat("Hi"), { signal: never }))).code).toBe("shutting_down");
    });

    test("a model file that llama.cpp refuses does not keep it from closing", async () => {
      const folder = await mkdtemp(join(tmpdir(), "ectus-half-"));
      const file = join(folder, "half.gguf");
      // The beginning of the real file: its header promises tensors that are not there.
      await pipeline(createReadStream(path ?? "", { end: 4_000_000 }), createWriteStream(file));
      const broken = createLlamaCppProvider(optionsWith({ models: { m: file } }));
      expect((await failure(broken.preload())).code).toBe("model_unavailable");
      await broken.close();
      await rm(folder, { recursive: true });
    });

    test("a provider that was never used closes at once", async () => {
      await createLlamaCppProvider(optionsWith()).close();
    });

    test("the library is imported at the first use only, and the process ends by itself after close", async () => {
      const folder = await mkdtemp(join(tmpdir(), "ectus-exit-"));
      const script = join(folder, "script.ts");
      await writeFile(
        script,
        `
        import { registerHooks } from "node:module";
        const seen: string[] = [];
        registerHooks({ resolve(name, context, next) { seen.push(name); return next(name, context); } });
        const { createLlamaCppProvider } = await import(${JSON.stringify(pathToFileURL(join(import.meta.dirname, "index.ts")).href)});
        const log = { info() {}, debug() {}, warn() {}, error() {} };
        const signal = new AbortController().signal;
        const provider = createLlamaCppProvider({ name: "b", models: { m: process.argv[2] }, sequences: 1,
          queueBound: 1, contextTokens: 256, threads: 1, log });
        const early = seen.includes("node-llama-cpp");
        const messages = [{ role: "user", content: "Hi" }];
        const { usage } = await provider.chat({ model: "m", messages, max_tokens: 2 }, { signal });
        await provider.embed({ model: "m", input: "x" }, { signal });
        await provider.close();
        console.log(JSON.stringify({ early, late: seen.includes("node-llama-cpp"), tokens: usage.completion_tokens }));
        `,
      );
      const child = spawn(process.execPath, [script, path ?? ""], {
        stdio: ["ignore", "pipe", "inherit"],
        timeout: 20_000,
      });
      let output = "";
      child.stdout.on("data", (text) => {
        output += text;
      });
      const [code, signal] = await once(child, "close");
      await rm(folder, { recursive: true });
      expect([code, signal]).toEqual([0, null]);
      expect(JSON.parse(output)).toEqual({ early: false, late: true, tokens: 2 });
    });
  });

  describe("embed", () => {
    const embed = async (input: string | string[] | number[] | number[][], more = {}) =>
      await provider.embed({ model: "m", input, ...more }, { signal: never });
    const vectorsOf = async (input: string[]) =>
      (await embed(input)).data.map(({ embedding }) => embedding as readonly number[]);
    const dot = (a: readonly number[], b: readonly number[]) =>
      a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

    test("vectors have length 1 and the model's dimensions, and texts alike are near", async () => {
      const [cat, kitten, tax] = await vectorsOf([
        "The cat sleeps on the sofa.",
        "A kitten is sleeping on the couch.",
        "Quarterly tax filings are due in April.",
      ]);
      if (cat === undefined || kitten === undefined || tax === undefined)
        throw new Error("three vectors expected");
      expect(cat).toHaveLength(576);
      expect(dot(cat, cat)).toBeCloseTo(1, 5);
      expect(dot(cat, kitten)).toBeGreaterThan(dot(cat, tax));
    });

    test("base64 holds the same numbers as 32-bit floats, little-endian", async () => {
      const floats = (await embed("hello")).data[0]?.embedding as readonly number[];
      const encoded = (await embed("hello", { encoding_format: "base64" })).data[0]?.embedding;
      const bytes = Buffer.from(String(encoded), "base64");
      const decoded = floats.map((_value, index) => bytes.readFloatLE(index * 4));
      expect(bytes).toHaveLength(576 * 4);
      expect(decoded).toEqual(floats.map(Math.fround));
    });

    test("token ids give what their text gives, one list or several, and usage counts them all", async () => {
      // "hello world" in the model's vocabulary.
      const text = await embed("hello world");
      expect(text.usage).toEqual({ prompt_tokens: 2, total_tokens: 2 });
      const both = await embed(["hello world", "hello world"]);
      expect(both.usage).toEqual({ prompt_tokens: 4, total_tokens: 4 });
      expect(both.data.map(({ index }) => index)).toEqual([0, 1]);
      const one = await embed([28120, 905]);
      const lists = await embed([[28120, 905], [28120]]);
      expect(one.usage?.prompt_tokens).toBe(2);
      expect(lists.data).toHaveLength(2);
      expect(lists.data[0]?.embedding).toEqual(one.data[0]?.embedding);
      expect(one.data[0]?.embedding).toEqual(text.data[0]?.embedding);
    });

    test.each([
      ["other dimensions", "x", { dimensions: 12 }, "dimensions"],
      ["an empty text", "", {}, "input"],
      ["no text", [] as string[], {}, "input"],
      ["an empty list of tokens", [[]] as number[][], {}, "input"],
      ["a token that the model does not know", [49_152], {}, "input"],
      ["a token that is not a whole number", [1.5], {}, "input"],
    ])("%s is the request's fault", async (_name, input, more, param) => {
      const error = await failure(embed(input, more));
      expect([error.code, error.details.param]).toEqual(["invalid_request", param]);
      await idle();
    });

    test("a text longer than a batch is refused with both numbers", async () => {
      const error = await failure(embed("word ".repeat(600)));
      expect(error.code).toBe("context_length_exceeded");
      expect(error.details).toMatchObject({ contextTokens: 511, param: "input" });
      const huge = await failure(embed(" ".repeat(5_000_000)));
      expect(huge.details).toEqual({ param: "input", contextTokens: 511, requestedTokens: "at least 61729" });
    });

    test("a client that leaves ends the work before the next text", async () => {
      const controller = new AbortController();
      const texts = Array.from({ length: 200 }, (_, index) => `text ${index}`);
      const work = failure(provider.embed({ model: "m", input: texts }, { signal: controller.signal }));
      await expect.poll(() => provider.load().m?.active).toBe(1);
      controller.abort();
      expect((await work).code).toBe("client_closed_request");
      await idle();
    });
  });
});

test("half of the processors are used by default, one at least and eight at most", () => {
  expect([1, 2, 3, 4, 16, 64].map(defaultThreads)).toEqual([1, 1, 1, 2, 8, 8]);
});
