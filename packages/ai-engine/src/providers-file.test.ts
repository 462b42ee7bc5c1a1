import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EctusError } from "@ectus/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defaultProviders } from "./providers-config.ts";
import { parseProviders, readProvidersFile } from "./providers-file.ts";

const example = new URL("../../../docs/providers.example.yaml", import.meta.url);

const parse = (text: string, environment = {}) => parseProviders(text, environment, "p.yaml");

function faultsOf(text: string, environment = {}): string[] {
  try {
    parse(text, environment);
  } catch (error) {
    if (error instanceof EctusError && error.code === "invalid_config")
      return String(error.details.faults)
        .split("\n")
        .map((line) => line.trim());
    throw error;
  }
  return [];
}

const minimal = `providers:
  up: { type: openai, baseUrl: "http://127.0.0.1:1/v1" }
models:
  m:
    operations: [chat]
    routes: [ { provider: up, model: theirs } ]
`;

test("the example file is valid, with its key from the environment", async () => {
  const text = await readFile(example, "utf8");
  const { providers, models } = parse(text, { OPENAI_API_KEY: "sk-1" });
  expect([...providers.keys()]).toEqual(["local", "openai", "vllm"]);
  expect(providers.get("openai")).toEqual({
    type: "openai",
    baseUrl: "https://api.openai.com/v1",
    apiKey: "sk-1",
    headers: {},
    timeoutMs: 60_000,
    streamIdleTimeoutMs: 60_000,
    maxConcurrent: 256,
    queue: 512,
    retries: 2,
  });
  expect(models.get("gpt-4o-mini")).toEqual({
    operations: ["chat"],
    contextTokens: 128_000,
    maxOutputTokens: 16_384,
    price: { inputPerMillionUsd: 0.15, outputPerMillionUsd: 0.6, cachedInputPerMillionUsd: 0.075 },
    ownedBy: undefined,
    routes: [{ provider: "openai", model: "gpt-4o-mini" }],
  });
  expect(models.get("text-embedding-3-small")?.price).toEqual({
    inputPerMillionUsd: 0.02,
    outputPerMillionUsd: 0,
  });
});

test("what the example says of the local model is what an instance without a file has", async () => {
  const { providers, models } = parse(await readFile(example, "utf8"), { OPENAI_API_KEY: "sk-1" });
  const modelPath = ".ectus/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  const defaults = defaultProviders({ modelPath });
  expect(providers.get("local")).toEqual(defaults.providers.get("local"));
  expect(models.get("smollm2-135m-instruct")).toEqual(defaults.models.get("smollm2-135m-instruct"));
});

test("what is left out has its default", () => {
  const { providers, models } = parse(minimal);
  expect(providers.get("up")).toMatchObject({ apiKey: undefined, headers: {}, retries: 2, queue: 512 });
  expect(models.get("m")).toMatchObject({ contextTokens: undefined, price: undefined });
  const local = parse(
    minimal.replace(
      '{ type: openai, baseUrl: "http://127.0.0.1:1/v1" }',
      "{ type: llama.cpp, models: { theirs: a.gguf } }",
    ),
  );
  expect(local.providers.get("up")).toEqual({
    type: "llama.cpp",
    models: { theirs: "a.gguf" },
    sequences: 4,
    queue: 64,
    contextTokens: 2048,
    preload: true,
  });
});

describe("a variable", () => {
  const text = minimal.replace('/v1"', '/v1", apiKey: ${KEY}, headers: { x-a: "Bearer ${KEY}-${OTHER}" }');

  test("is replaced anywhere in a text, plain or quoted, whatever is in it", () => {
    const { providers } = parse(text, { KEY: 'a:{b}#"c"', OTHER: ": #d" });
    expect(providers.get("up")).toMatchObject({
      apiKey: 'a:{b}#"c"',
      headers: { "x-a": 'Bearer a:{b}#"c"-: #d' },
    });
  });

  test("that is not set, or empty, is a fault", () => {
    expect(faultsOf(text, { KEY: "" })).toEqual([
      "p.yaml:2: providers.up.apiKey: names the environment variable KEY, which is not set, accepts variables that are set",
      "p.yaml:2: providers.up.headers.x-a: names the environment variable KEY, which is not set, accepts variables that are set",
      "p.yaml:2: providers.up.headers.x-a: names the environment variable OTHER, which is not set, accepts variables that are set",
    ]);
  });
});

test("all faults are told at once, each with its line, what was got and what is accepted", () => {
  const text = `providers:
  up:
    type: openai
    baseUrl: ftp://example.com
    timeoutMs: "soon"
    retires: 3
    headers: { Host: a }
  local:
    type: llama.cpp
    models: { a: a.gguf }
  what: { type: anthropic }
  none: { }
  list: [1]
models:
  m:
    operations: [chat, images]
    contextTokens: 10
    maxOutputTokens: 20
    price: { inputPerMillionUsd: -1 }
    routes: [ { provider: upp, model: a }, { provider: local, model: b } ]
  "no good name":
    operations: []
    routes: []
  n: 5
  o:
    price: { inputPerMillionUsd: 0.1234567, outputPerMillionUsd: 1 }
more: 1
`;
  const openAiNames =
    "type, baseUrl, apiKey, headers, timeoutMs, streamIdleTimeoutMs, maxConcurrent, queue, retries";
  const usd = (what: string) =>
    `US dollars per million ${what} tokens, from 0 to 1000000 with at most six decimals`;
  const routes = "a list of at least one { provider, model }, in the order in which they are tried";
  expect(faultsOf(text)).toEqual([
    'p.yaml:4: providers.up.baseUrl: got "ftp://example.com", accepts an http or https URL with the version\'s path and without credentials or query, such as https://api.openai.com/v1',
    'p.yaml:5: providers.up.timeoutMs: got "soon", accepts milliseconds until an answer, or a stream\'s headers, a whole number from 1 to 3600000',
    `p.yaml:6: providers.up.retires: is not known here, accepts ${openAiNames}`,
    "p.yaml:7: providers.up.headers.Host: is no header that can be set, accepts names of HTTP headers, except those of the connection and the body",
    'p.yaml:11: providers.what.type: got "anthropic", accepts openai or llama.cpp',
    "p.yaml:12: providers.none.type: is missing, accepts openai or llama.cpp",
    "p.yaml:13: providers.list: got a list of 1, accepts a mapping with type and more",
    'p.yaml:16: models.m.operations.1: got "images", accepts chat or embeddings',
    "p.yaml:18: models.m.maxOutputTokens: got 20, accepts no more than contextTokens, which is 10",
    `p.yaml:19: models.m.price.inputPerMillionUsd: got -1, accepts ${usd("input")}`,
    "p.yaml:19: models.m.price.outputPerMillionUsd: is missing, accepts US dollars per million output tokens, which a model for chat has",
    'p.yaml:20: models.m.routes.0.provider: got "upp", accepts a provider of this file: up, local, what, none, list',
    "p.yaml:20: models.m.routes.1.model: got \"b\", accepts a model of 'local': a",
    "p.yaml:21: models.no good name: has a name that is not usable, accepts 1 to 128 letters, digits and any of _ . / : @ + -",
    "p.yaml:22: models.no good name.operations: got [], accepts a list of chat, embeddings or both",
    `p.yaml:23: models.no good name.routes: got [], accepts ${routes}`,
    "p.yaml:24: models.n: got 5, accepts a mapping with operations, contextTokens, maxOutputTokens, ownedBy, price, routes",
    "p.yaml:25: models.o.operations: is missing, accepts a list of chat, embeddings or both",
    `p.yaml:25: models.o.routes: is missing, accepts ${routes}`,
    `p.yaml:26: models.o.price.inputPerMillionUsd: got 0.1234567, accepts ${usd("input")}`,
    "p.yaml:27: more: is not known here, accepts providers, models",
  ]);
});

test.each([
  ["", ["p.yaml:1: the file: got null, accepts a mapping with providers and models"]],
  ["[]", ["p.yaml:1: the file: got [], accepts a mapping with providers and models"]],
  [
    "providers: {}\n",
    [
      "p.yaml:1: models: is missing, accepts a mapping of names to models, with at least one",
      "p.yaml:1: providers: got a mapping, accepts a mapping of names to providers, with at least one",
    ],
  ],
])("%j is no providers file", (text, faults) => {
  expect(faultsOf(text).sort()).toEqual(faults.sort());
});

test("what is not YAML is told with its line, and without the line's text", () => {
  const faults = faultsOf("providers:\n  up: { apiKey: sk-secret-value\n   : ]\nmodels: }");
  expect(faults.length).toBeGreaterThan(0);
  expect(faults[0]).toMatch(/^p\.yaml:\d+: is not valid YAML at column \d+ \([a-z ]+\)$/);
  expect(faults.join()).not.toContain("secret");
});

test("the same name twice is a fault", () => {
  expect(faultsOf(`${minimal}  m: {}\n`)[0]).toContain(
    "p.yaml:7: is not valid YAML at column 3 (duplicate key)",
  );
});

test("an alias bomb is refused", () => {
  const levels = Array.from(
    { length: 9 },
    (_, level) => `a${level + 1}: &a${level + 1} [${`*a${level}, `.repeat(9)}]`,
  );
  expect(faultsOf(`a0: &a0 [x]\n${levels.join("\n")}\n`)[0]).toContain("is not valid YAML");
});

test("no fault shows a key, a header or the credentials of a URL", () => {
  const text = `providers:
  up: { type: openai, baseUrl: "http://u:secret1@h/v1", apiKey: [secret2], headers: { a: [secret3], b: "secret4\\n" } }
  env: { type: openai, baseUrl: "${"${"}URL}", apiKey: 5 }
models: { m: { operations: [chat], routes: [ { provider: up, model: a } ] } }
`;
  const withKey = text.replace("apiKey: 5", 'apiKey: "sk secret6"');
  const faults = [
    ...faultsOf(text, { URL: "ftp://secret5" }),
    ...faultsOf(withKey, { URL: "ftp://secret5" }),
  ];
  expect(faults).toHaveLength(12);
  expect(faults.join("\n")).not.toMatch(/secret\d/);
  expect(faults.join("\n")).toContain(`got "$${"{URL}"}"`);
});

test("a key that no header can carry is a fault, and is not shown", () => {
  const text = minimal.replace('/v1"', '/v1", apiKey: "$' + '{KEY}"');
  expect(faultsOf(text, { KEY: "sk-secret\n" })).toEqual([
    "p.yaml:2: providers.up.apiKey: got a value that is not shown because it is secret, accepts a key of printable ASCII characters, usually from an environment variable",
  ]);
});

test("a file that cannot be read is told by its path", async () => {
  await expect(readProvidersFile("/nowhere/p.yaml", {})).rejects.toMatchObject({ code: "invalid_config" });
  const folder = await mkdtemp(join(tmpdir(), "providers-"));
  try {
    const path = join(folder, "p.yaml");
    await writeFile(path, minimal);
    expect((await readProvidersFile(path, {})).models.has("m")).toBe(true);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("any text is either valid or told as invalid_config", () => {
  const fragment = fc.oneof(
    fc.constantFrom(
      "providers:",
      "models:",
      "  a: ",
      "{",
      "}",
      "[",
      "]",
      "type: openai",
      "\n",
      "&a ",
      "*a",
      `$${"{X}"}`,
      "null",
      "? ",
      "- ",
    ),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 20 }), (fragments) => {
      expect(faultsOf(fragments.join("")).length).toBeGreaterThan(0);
    }),
    { numRuns: 300 },
  );
});
