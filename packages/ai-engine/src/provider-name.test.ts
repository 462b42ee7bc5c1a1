import { expect, test } from "vitest";
import { conventionalProviderName } from "./provider-name.ts";
import type { ProviderConfig } from "./providers-config.ts";

test.each([
  ["https://api.openai.com/v1", "openai"],
  ["https://eu.api.openai.com/v1", "openai"],
  ["https://mine.openai.azure.com/openai/v1", "azure.ai.openai"],
  ["https://api.groq.com/openai/v1", "groq"],
  ["https://api.openai.com.example.org/v1", "mine"],
  ["http://127.0.0.1:8000/v1", "mine"],
])("a provider at %s is %s", (baseUrl, name) => {
  expect(conventionalProviderName("mine", { type: "openai", baseUrl } as ProviderConfig)).toBe(name);
});

test("a built-in model has its provider's configured name", () => {
  expect(conventionalProviderName("local", { type: "llama.cpp" } as ProviderConfig)).toBe("local");
});
