import { EctusError } from "@ectus/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  createSigningKey,
  isBase64url,
  publicKeyBytes,
  publicSigningKey,
  thumbprint,
} from "./signing-key.ts";
import { parseSigningKeys } from "./signing-key-set.ts";

// RFC 8037, appendix A.
const seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
const publicKey = { kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig", kid, x } as const;

describe("a signing key", () => {
  test("is the one of RFC 8037: its public key, its thumbprint and its signature", () => {
    const key = createSigningKey(seed);
    expect(key.publicKey).toEqual(publicKey);
    const input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    expect(key.sign(Buffer.from(input)).toString("base64url")).toBe(
      "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
  });

  test("does not show its seed, nor when the seed is none", () => {
    expect(JSON.stringify(createSigningKey(seed))).not.toContain(seed);
    for (const bad of ["", "x", seed.slice(1), `${seed}A`, `${seed.slice(1)}+`, `${seed.slice(1)}é`]) {
      const error = thrownBy(() => createSigningKey(bad));
      expect(error).toMatchObject({ code: "invalid_config" });
      expect(error.message).toContain("SIGNING_KEY");
      if (bad.length > 1) expect(error.message).not.toContain(bad);
    }
  });

  test("comes back from the bytes of its public half", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const key = createSigningKey(Buffer.from(bytes).toString("base64url")).publicKey;
        expect(publicSigningKey(publicKeyBytes(key))).toEqual(key);
        expect(key.kid).toBe(thumbprint(key.x));
      }),
      { numRuns: 20 },
    );
  });
});

test("32 bytes have one form in base64url", () => {
  expect(isBase64url(x)).toBe(true);
  // The last character has two bits that say nothing.
  for (const other of [`${x.slice(0, -1)}p`, x.slice(1), `${x}=`, `${x} `, "é".repeat(43), undefined, 7, [x]])
    expect(isBase64url(other), String(other)).toBe(false);
});

describe("a saved answer of /v1/signing-keys", () => {
  const set = (...keys: unknown[]): string => JSON.stringify({ keys });

  test("gives its keys, and leaves out those of other kinds", () => {
    expect(parseSigningKeys(set(publicKey))).toEqual([publicKey]);
    const rsa = { kty: "RSA", n: "AQAB", e: "AQAB" };
    expect(parseSigningKeys(set(rsa, { kty: "OKP", crv: "Ed25519", x }))).toEqual([publicKey]);
  });

  test.each([
    ["", "it is not JSON"],
    ["\ufeff{}", "it is not JSON"],
    ["null", "it is no object"],
    ["[]", "it is no object"],
    ["{}", 'it has no list "keys"'],
    [JSON.stringify(publicKey), 'it has no list "keys"'],
    [set(), "it has no key of the kind Ed25519"],
    [set(null), "keys[0] is no object"],
    [set(publicKey, "x"), "keys[1] is no object"],
    [set({ ...publicKey, x: "short" }), "keys[0].x is not 32 bytes in base64url"],
    [set({ ...publicKey, x: `${x.slice(0, -1)}p` }), "keys[0].x is not 32 bytes in base64url"],
    [set({ ...publicKey, kid: "other" }), "keys[0].kid is not the thumbprint of its x"],
    [set({ ...publicKey, d: seed }), "keys[0] is a private key"],
    ["x".repeat(1_000_001), "more than 1000000 characters"],
  ])("%j is refused", (json, reason) => {
    const error = thrownBy(() => parseSigningKeys(json));
    expect(error).toMatchObject({ code: "invalid_request" });
    expect(error.message).toContain(reason);
    expect(error.message).not.toContain(seed);
  });
});

function thrownBy(work: () => unknown): EctusError {
  try {
    work();
  } catch (error) {
    if (error instanceof EctusError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
