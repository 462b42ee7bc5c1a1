import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { apiKeyDigest, apiKeyPrefix, createApiKey, isApiKey } from "./api-key.ts";

test("keys are of one form and never the same", () => {
  const keys = new Set(Array.from({ length: 1_000 }, createApiKey));
  expect(keys.size).toBe(1_000);
  for (const key of keys) expect(isApiKey(key)).toBe(true);
});

test.each(["", "sk-", "sk-short", `pk-${"a".repeat(43)}`, `sk-${"a".repeat(44)}`, `sk-${"a".repeat(42)}!`])(
  "%j is no key",
  (text) => {
    expect(isApiKey(text)).toBe(false);
  },
);

test("the prefix shows too little of a key to guess it", () => {
  const key = createApiKey();
  expect(key.startsWith(apiKeyPrefix(key))).toBe(true);
  expect(apiKeyPrefix(key)).toHaveLength(10);
});

// RFC 4231, test case 2.
test("the digest is HMAC-SHA-256", () => {
  expect(apiKeyDigest("what do ya want for nothing?", "Jefe").toString("hex")).toBe(
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  );
  expect(apiKeyDigest("a", "one")).not.toEqual(apiKeyDigest("a", "other"));
  expect(apiKeyDigest("a", "one")).toEqual(createHmac("sha256", "one").update("a").digest());
});
