import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { costUsd, toEmbeddingUsage, toTokenUsage } from "./usage.ts";

const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };

test("a provider's usage is taken over with its details", () => {
  expect(
    toTokenUsage({
      ...usage,
      prompt_tokens_details: { cached_tokens: 4 },
      completion_tokens_details: { reasoning_tokens: 2 },
    }),
  ).toEqual({ inputTokens: 10, outputTokens: 5, cachedTokens: 4, reasoningTokens: 2 });
});

test("details that are missing or null count as zero", () => {
  expect(toTokenUsage({ ...usage, prompt_tokens_details: null })).toEqual({
    inputTokens: 10,
    outputTokens: 5,
    cachedTokens: 0,
    reasoningTokens: 0,
  });
});

test.each([
  [null],
  [undefined],
  ["many"],
  [{}],
  [{ ...usage, prompt_tokens: -1 }],
  [{ ...usage, completion_tokens: 1.5 }],
  [{ ...usage, completion_tokens: "5" }],
  [{ ...usage, prompt_tokens: 2 ** 31 }],
  [{ ...usage, prompt_tokens_details: { cached_tokens: -4 } }],
])("the usage %j is unknown", (value) => {
  expect(toTokenUsage(value as never)).toBeNull();
});

test("embeddings have input tokens only", () => {
  expect(toEmbeddingUsage({ prompt_tokens: 8, total_tokens: 8 })).toMatchObject({
    inputTokens: 8,
    outputTokens: 0,
  });
  expect(toEmbeddingUsage(null)).toBeNull();
  expect(toEmbeddingUsage(undefined)).toBeNull();
  expect(toEmbeddingUsage({ prompt_tokens: -8, total_tokens: 8 })).toBeNull();
});

describe("the cost", () => {
  const price = { inputPerMillionUsd: 0.15, outputPerMillionUsd: 0.6, cachedInputPerMillionUsd: 0.075 };
  const tokens = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 };

  test("is exact where floating point is not", () => {
    expect(costUsd(price, { ...tokens, inputTokens: 3 })).toBe("0.00000045");
    expect(costUsd(price, { ...tokens, inputTokens: 1_000_000, outputTokens: 1_000_000 })).toBe("0.75");
    expect(
      costUsd({ inputPerMillionUsd: 15, outputPerMillionUsd: 75 }, { ...tokens, inputTokens: 2_000_000 }),
    ).toBe("30");
    expect(costUsd(price, tokens)).toBe("0");
  });

  test("of cached tokens is that of their own price, or of other input if there is none", () => {
    const half = { ...tokens, inputTokens: 100, cachedTokens: 50 };
    expect(costUsd(price, half)).toBe("0.00001125");
    expect(costUsd({ inputPerMillionUsd: 0.15, outputPerMillionUsd: 0.6 }, half)).toBe("0.000015");
  });

  test("counts no more cached tokens than there was input", () => {
    expect(costUsd(price, { ...tokens, inputTokens: 10, cachedTokens: 50 })).toBe("0.00000075");
  });

  test("is unknown without a price or a usage", () => {
    expect(costUsd(null, tokens)).toBeNull();
    expect(costUsd(price, null)).toBeNull();
  });

  test("is the sum in integers for any price and count", () => {
    const micro = fc.nat(1_000_000_000);
    const count = fc.nat(2_147_483_647);
    fc.assert(
      fc.property(micro, micro, count, count, (input, output, inputTokens, outputTokens) => {
        const text = costUsd(
          { inputPerMillionUsd: input / 1e6, outputPerMillionUsd: output / 1e6 },
          { ...tokens, inputTokens, outputTokens },
        );
        const [whole = "", decimals = ""] = String(text).split(".");
        const picodollars = BigInt(whole) * 10n ** 12n + BigInt(decimals.padEnd(12, "0"));
        expect(picodollars).toBe(BigInt(input) * BigInt(inputTokens) + BigInt(output) * BigInt(outputTokens));
      }),
    );
  });
});
