import { createSigningKey, publicSigningKey } from "@ectus/bag";
import { loadConfig } from "@ectus/core";
import { listSigningKeys } from "@ectus/database";
import { expect, test } from "vitest";
import { openTestDatabase } from "../../../tests/postgres/open-test-database.ts";
import { publishSigningKeys, signingKeysOf } from "./signing-keys.ts";

const [first, second, third] = ["A", "B", "C"].map((letter) => letter.repeat(43)) as [string, string, string];
const kidOf = (seed: string): string => createSigningKey(seed).publicKey.kid;

test("keys are those of SIGNING_KEY in their order, or the one of the first start", () => {
  const kids = (SIGNING_KEY?: string): string[] =>
    signingKeysOf(loadConfig(SIGNING_KEY === undefined ? {} : { SIGNING_KEY }), { signingKey: first }).map(
      ({ publicKey }) => publicKey.kid,
    );
  expect(kids()).toEqual([kidOf(first)]);
  expect(kids(second)).toEqual([kidOf(second)]);
  expect(kids(`${third}, ${second}`)).toEqual([kidOf(third), kidOf(second)]);
});

test("a key that was replaced stays published", async () => {
  const { database, close } = await openTestDatabase();
  try {
    const publish = (SIGNING_KEY: string) =>
      publishSigningKeys(database, signingKeysOf(loadConfig({ SIGNING_KEY }), { signingKey: first }));
    await publish(second);
    await publish(second);
    await publish(third);
    const rows = await listSigningKeys(database);
    expect(rows.map(({ kid }) => kid)).toEqual([kidOf(third), kidOf(second)]);
    for (const { kid, publicKey } of rows) expect(publicSigningKey(publicKey).kid).toBe(kid);
  } finally {
    await close();
  }
});
