// That the search for secrets finds them: a test that looks for leaks with one that does not would pass for ever.
import { expect, test } from "vitest";
import { createCorpus, findLeaks, type Sensitive } from "./sensitive-corpus.ts";

const corpus = createCorpus();

const writings: Readonly<Record<string, (text: string) => string>> = {
  "as it is": (text) => text,
  "in capitals": (text) => text.toUpperCase(),
  "in small letters": (text) => text.toLowerCase(),
  "in a URL": (text) => `/v1/files/${encodeURIComponent(text)}?x=${encodeURIComponent(text)}`,
  "in a form": (text) => new URLSearchParams({ name: text }).toString(),
  "in JSON": (text) => JSON.stringify({ name: `before ${text} after` }),
  "in JSON in JSON": (text) => JSON.stringify({ line: JSON.stringify({ name: text }) }),
  "in base64": (text) => Buffer.from(text).toString("base64"),
  "within base64": (text) => Buffer.from(`ab${text}c`).toString("base64"),
  "within base64url": (text) => Buffer.from(`a${text}bc`).toString("base64url"),
  "as Latin-1": (text) => Buffer.from(text).toString("latin1"),
};

test.each(Object.entries(writings))("each thing is found %s", (_name, write) => {
  for (const thing of corpus) {
    const text = `{"level":"info","msg":"x"}\n${write(thing.text)}\n{"level":"info"}`;
    expect(findLeaks(text, [thing]).map(({ name }) => name)).toEqual([thing.name]);
  }
});

test("a part of a thing is found: the password of a URL, a line of a private key, half of a token", () => {
  const named = (wanted: string): Sensitive => corpus.find(({ name }) => name === wanted) as Sensitive;
  for (const name of ["a database URL", "a private key", "a bearer token", "basic credentials", "a JWT"]) {
    expect(named(name).parts.length).toBeGreaterThan(0);
    for (const part of named(name).parts) expect(findLeaks(`[${part}]`, [named(name)])).toHaveLength(1);
  }
  const key = named("a key of the platform's form");
  expect(findLeaks(key.text.slice(0, 30), [key])).toHaveLength(1);
  expect(findLeaks(key.text.slice(-30), [key])).toHaveLength(1);
  // By its beginning people tell keys apart.
  expect(findLeaks(key.text.slice(0, 10), [key])).toEqual([]);
});

test("nothing is found where nothing is, and another run's things are others", () => {
  expect(findLeaks(JSON.stringify(createCorpus()), corpus)).toEqual([]);
});
