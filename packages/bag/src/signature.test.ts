import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkBagSignature, signBag } from "./signature.ts";
import { createSigningKey, thumbprint } from "./signing-key.ts";

const key = createSigningKey("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
const otherKey = createSigningKey(Buffer.alloc(32, 7).toString("base64url"));
const digests = { tagManifestSha256: "ab".repeat(32), exportJsonSha256: "cd".repeat(32) };
const other = "ef".repeat(32);
const text = signBag(key, digests);
const { kid, x } = key.publicKey;
const trusted = [otherKey.publicKey, key.publicKey];
const check = (signature: string | undefined, of = digests, keys = trusted) =>
  checkBagSignature(signature, of, keys);

test("a signature is JSON with its parts in one order, and the same each time", () => {
  expect(Object.keys(JSON.parse(text))).toEqual([
    ..."format version alg kid x tagManifestSha256 exportJsonSha256 signature".split(" "),
  ]);
  expect(JSON.parse(text)).toMatchObject({
    format: "ectus-export-signature",
    version: 1,
    alg: "EdDSA",
    kid,
    x,
    ...digests,
  });
  expect(text.endsWith("\n}\n")).toBe(true);
  expect(signBag(key, digests)).toBe(text);
});

test("a signature by a trusted key is valid", () => {
  expect(check(text)).toEqual({ state: "valid", kid, why: "It was made by a key that is trusted." });
  // By whom it was written down does not matter.
  expect(check(JSON.stringify({ ...JSON.parse(text), comment: "x" }))).toMatchObject({ state: "valid" });
});

test("a signature by another key fits, and proves nothing", () => {
  expect(check(text, digests, [otherKey.publicKey])).toMatchObject({ state: "unknown_key", kid });
  expect(check(text, digests, []).why).toContain(kid);
  // A key is known by itself, not by the name that somebody gave it.
  expect(check(text, digests, [{ ...otherKey.publicKey, kid }])).toMatchObject({ state: "unknown_key" });
});

test("a bag without one is told from one with a bad one", () => {
  expect(check(undefined)).toEqual({ state: "missing", kid: undefined, why: "The bag has no signature." });
  expect(check("")).toMatchObject({ state: "invalid" });
});

test("a signature of other files is invalid, also when it names these", () => {
  const elsewhere = { ...digests, exportJsonSha256: other };
  expect(check(text, elsewhere)).toMatchObject({ state: "invalid", kid });
  expect(check(text, elsewhere).why).toContain("another export.json");
  expect(check(text, { ...digests, tagManifestSha256: other }).why).toContain(
    "another tagmanifest-sha256.txt",
  );
  expect(check(changed({ exportJsonSha256: other }), elsewhere)).toEqual({
    state: "invalid",
    kid,
    why: "It was not made by the key that it names, or was changed.",
  });
});

test("a signature under another key's name is invalid", () => {
  const named = changed({ kid: otherKey.publicKey.kid, x: otherKey.publicKey.x });
  expect(check(named)).toMatchObject({ state: "invalid", kid: otherKey.publicKey.kid });
});

describe("a file that is no signature says why", () => {
  const point = Buffer.alloc(32, 0xff).toString("base64url");
  test.each([
    ["", "It is not JSON."],
    ["{", "It is not JSON."],
    ["\ufeff{}", "It is not JSON."],
    ["[".repeat(9_000), "It is not JSON."],
    ["null", "It is no JSON object."],
    ["[]", "It is no JSON object."],
    ['"x"', "It is no JSON object."],
    [`"${"x".repeat(20_000)}"`, "It has 20002 characters, more than any signature (10000)."],
    ["{}", 'Its format is missing, not "ectus-export-signature".'],
    [changed({ format: "ectus\u202e\u001b[2J" }), 'Its format is "ectus\\u{202e}\\u001b[2J"'],
    [changed({ version: 2 }), "Its version is 2: it was made by a newer version"],
    [changed({ version: "1" }), 'Its version is "1", not 1.'],
    [changed({ version: 0.5 }), "Its version is 0.5, not 1."],
    [changed({ alg: "none" }), 'Its alg is "none", not "EdDSA".'],
    [changed({ alg: ["EdDSA"] }), 'Its alg is ["EdDSA"], not "EdDSA".'],
    [changed({ x: "" }), "Its x is not 32 bytes in base64url."],
    [changed({ x: `${x.slice(0, -1)}p` }), "Its x is not 32 bytes in base64url."],
    [changed({ x: `${x}AAAA` }), "Its x is not 32 bytes in base64url."],
    [changed({ x: otherKey.publicKey.x }), "Its kid is not the thumbprint of its x."],
    [changed({ kid: undefined }), "Its kid is not the thumbprint of its x."],
    [changed({ x: point, kid: thumbprint(point) }), "It was not made by the key that it names"],
    [changed({ signature: "AAAA" }), "Its signature is not 64 bytes in base64url."],
    [changed({ signature: "ä".repeat(86) }), "Its signature is not 64 bytes in base64url."],
    [changed({ signature: null }), "Its signature is not 64 bytes in base64url."],
    [changed({ tagManifestSha256: "AB".repeat(32) }), "Its tagManifestSha256 is not 64 lower-case"],
    [changed({ exportJsonSha256: "cd" }), "Its exportJsonSha256 is not 64 lower-case"],
  ])("number %#", (signature, why) => {
    const checked = check(signature);
    expect(checked.state).toBe("invalid");
    expect(checked.why).toContain(why);
  });
});

test("a change of any character makes it invalid or leaves it as it was, and never throws", () => {
  fc.assert(
    fc.property(
      fc.nat({ max: text.length - 1 }),
      fc.string({ unit: "binary", minLength: 0, maxLength: 2 }),
      (at, put) => {
        const { state } = check(text.slice(0, at) + put + text.slice(at + 1));
        const same = alike(text.slice(0, at) + put + text.slice(at + 1));
        expect(state).toBe(same ? "valid" : "invalid");
      },
    ),
    { numRuns: 500 },
  );
});

test("anything that is JSON, and anything that is not, gives an answer", () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string({ unit: "binary" })), (anything) => {
      expect(check(anything).state).toBe("invalid");
    }),
  );
});

/** The signature with some of its fields changed. */
function changed(fields: object): string {
  return JSON.stringify({ ...JSON.parse(text), ...fields });
}

/** Whether a text says what the signature says. */
function alike(one: string): boolean {
  try {
    const said = JSON.parse(one);
    return Object.entries(JSON.parse(text)).every(([name, value]) => said[name] === value);
  } catch {
    return false;
  }
}
