// The token loop over a sequence that is played: what it asks for, how far ahead it runs, and when it stops.
import type { LlamaContextSequence, LlamaModel, Token } from "node-llama-cpp";
import { describe, expect, test } from "vitest";
import { readChatSettings } from "./chat-settings.ts";
import { type GenerationEnd, type GenerationOptions, generateText, noTokens } from "./generation.ts";

const endToken = 0 as Token;
const tokensOf = (text: string) => [...text].map((letter) => letter.codePointAt(0) as Token);

/** A model whose tokens are code points, and a sequence that answers with `answer`. */
function play(answer: Iterable<Token>, contextSize = 1000) {
  const evaluated: number[] = [];
  let asked = 0;
  let returned = 0;
  let options: Record<string, unknown> = {};
  const sequence = {
    contextSize,
    nextTokenIndex: 0,
    async clearHistory() {
      sequence.nextTokenIndex = 0;
    },
    async adaptStateToTokens(tokens: readonly Token[]) {
      sequence.nextTokenIndex = Math.min(sequence.nextTokenIndex, tokens.length);
    },
    async evaluateWithoutGeneratingNewTokens(tokens: readonly Token[]) {
      evaluated.push(tokens.length);
      sequence.nextTokenIndex += tokens.length;
    },
    async *evaluate(tokens: readonly Token[], given: Record<string, unknown>) {
      options = given;
      evaluated.push(tokens.length);
      try {
        for (const token of answer) {
          asked += 1;
          yield token;
        }
      } finally {
        returned += 1;
      }
    },
  };
  const model = {
    isEogToken: (token: Token) => token === endToken,
    detokenize: (tokens: readonly Token[]) => tokens.map((token) => String.fromCodePoint(token)).join(""),
  };
  return {
    sequence,
    evaluated,
    asked: () => asked,
    returned: () => returned,
    options: () => options,
    start: (request: Record<string, unknown> = {}, more: Partial<GenerationOptions> = {}) =>
      generateText({
        model: model as unknown as LlamaModel,
        sequence: sequence as unknown as LlamaContextSequence,
        prompt: tokensOf("prompt"),
        settings: readChatSettings({ model: "m", messages: [], ...request }),
        grammar: undefined,
        reuse: false,
        counts: noTokens(),
        signal: new AbortController().signal,
        ...more,
      }),
  };
}

async function drain(pieces: AsyncGenerator<string, GenerationEnd, undefined>) {
  const texts: string[] = [];
  let result = await pieces.next();
  for (; !result.done; result = await pieces.next()) texts.push(result.value);
  return { texts, end: result.value };
}

describe("generateText", () => {
  test("ends with the model's end token, which is counted and not given on", async () => {
    const { texts, end } = await drain(play([...tokensOf("ok"), endToken]).start());
    expect(texts).toEqual(["o", "k"]);
    expect(end).toEqual({ finishReason: "stop", promptTokens: 6, cachedTokens: 0, completionTokens: 3 });
  });

  test("ends at the limit of tokens", async () => {
    const played = play(tokensOf("abcdef"));
    const { texts, end } = await drain(played.start({ max_tokens: 3 }));
    expect(texts.join("")).toBe("abc");
    expect(end).toMatchObject({ finishReason: "length", completionTokens: 3 });
    expect(played.asked()).toBe(3);
    expect(played.returned()).toBe(1);
  });

  test("ends where the context ends, and refuses a prompt that fills it", async () => {
    const { texts, end } = await drain(play(tokensOf("abcdef"), 8).start({ max_tokens: 100 }));
    expect(texts.join("")).toBe("ab");
    expect(end.finishReason).toBe("length");
    await expect(drain(play(tokensOf("a"), 6).start())).rejects.toMatchObject({
      code: "context_length_exceeded",
      details: { contextTokens: 5, requestedTokens: 6 },
    });
  });

  test("ends at a stop text, and gives on what was held back for one that did not come", async () => {
    const stopped = await drain(play(tokensOf("one two")).start({ stop: [" t"] }));
    expect(stopped.texts.join("")).toBe("one");
    expect(stopped.end).toMatchObject({ finishReason: "stop", completionTokens: 5 });
    const ended = await drain(play([...tokensOf("one t"), endToken]).start({ stop: " tw" }));
    expect(ended.texts.join("")).toBe("one t");
    const limited = await drain(play(tokensOf("one two")).start({ stop: " tw", max_tokens: 5 }));
    expect(limited.texts.join("")).toBe("one t");
    expect(limited.end.finishReason).toBe("length");
  });

  test("no token is asked for before the reader asks for its text", async () => {
    const played = play(tokensOf("abcdef"));
    const pieces = played.start();
    for (let read = 1; read <= 3; read += 1) {
      await pieces.next();
      expect(played.asked()).toBe(read);
    }
    await pieces.return({ finishReason: "stop", promptTokens: 0, cachedTokens: 0, completionTokens: 0 });
    expect(played.returned()).toBe(1);
    expect(played.asked()).toBe(3);
  });

  test("an abort ends it within one token, with the signal's reason and an exact count", async () => {
    const played = play(tokensOf("abcdef"));
    const controller = new AbortController();
    const counts = noTokens();
    const pieces = played.start({}, { counts, signal: controller.signal });
    await pieces.next();
    const reason = new Error("gone");
    controller.abort(reason);
    await expect(pieces.next()).rejects.toBe(reason);
    expect(counts).toEqual({ promptTokens: 6, cachedTokens: 0, completionTokens: 1 });
    expect(played.asked()).toBe(1);
    expect(played.returned()).toBe(1);
  });

  test("a token that was on its way when the abort came is counted, but not given on", async () => {
    const controller = new AbortController();
    function* answer() {
      yield* tokensOf("a");
      controller.abort(new Error("gone"));
      yield* tokensOf("b");
    }
    const counts = noTokens();
    const pieces = play(answer()).start({}, { counts, signal: controller.signal });
    expect((await pieces.next()).value).toBe("a");
    await expect(pieces.next()).rejects.toThrow("gone");
    expect(counts.completionTokens).toBe(2);
  });

  test("a long prompt is evaluated in pieces, between which an abort is seen", async () => {
    const played = play([endToken]);
    const prompt = tokensOf("x".repeat(200));
    await drain(played.start({}, { prompt }));
    expect(played.evaluated).toEqual([64, 64, 64, 8]);

    const aborted = play([endToken]);
    const controller = new AbortController();
    const { evaluateWithoutGeneratingNewTokens } = aborted.sequence;
    aborted.sequence.evaluateWithoutGeneratingNewTokens = async (tokens) => {
      await evaluateWithoutGeneratingNewTokens(tokens);
      controller.abort(new Error("gone"));
    };
    await expect(drain(aborted.start({}, { prompt, signal: controller.signal }))).rejects.toThrow("gone");
    expect(aborted.evaluated).toEqual([64]);
  });

  test("what the sequence holds is used again when that is allowed, all but the last token", async () => {
    const played = play([endToken]);
    played.sequence.nextTokenIndex = 6;
    const { end } = await drain(played.start({}, { reuse: true }));
    expect(end.cachedTokens).toBe(5);
    expect(played.evaluated).toEqual([1]);
    const fresh = play([endToken]);
    fresh.sequence.nextTokenIndex = 6;
    expect((await drain(fresh.start())).end.cachedTokens).toBe(0);
  });

  test("settings reach llama.cpp, without its own defaults of top-k and min-p", async () => {
    const played = play([...tokensOf("ab"), endToken]);
    await drain(
      played.start({ temperature: 0.5, top_p: 0.9, seed: 7, frequency_penalty: 0.3, presence_penalty: 0.2 }),
    );
    expect(played.options()).toMatchObject({
      temperature: 0.5,
      topP: 0.9,
      topK: 0,
      minP: 0,
      seed: 7,
      repeatPenalty: { penalty: 1, frequencyPenalty: 0.3, presencePenalty: 0.2 },
    });
    const { punishTokens } = played.options().repeatPenalty as { punishTokens: () => Token[] };
    expect(punishTokens()).toEqual([...tokensOf("ab"), endToken]);
    const plain = play([endToken]);
    await drain(plain.start());
    expect(plain.options()).not.toHaveProperty("repeatPenalty");
  });
});
