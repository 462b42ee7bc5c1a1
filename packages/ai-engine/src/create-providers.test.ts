import type { Logger } from "@ectus/core";
import { createInstruments, Registry } from "@ectus/monitoring";
import { expect, test } from "vitest";
import { startUpstream } from "../../../tests/openai-upstream/upstream.ts";
import { samplesOf } from "../../../tests/postgres/measured.ts";
import { createProviders } from "./create-providers.ts";
import { createEngine } from "./engine.ts";
import type { Provider } from "./provider.ts";
import type { LlamaCppOptions } from "./providers/llama-cpp/index.ts";
import { defaultProviders, type ModelConfig, type ProvidersConfig } from "./providers-config.ts";
import { parseProviders } from "./providers-file.ts";

const log = { warn() {}, info() {}, debug() {} } as unknown as Logger;

test("a file's upstream answers through the engine, and falls back to the next one", async () => {
  const broken = await startUpstream({ status: 500 });
  const working = await startUpstream();
  const config = parseProviders(
    `providers:
  broken: { type: openai, baseUrl: "${broken.baseUrl}", retries: 0 }
  working: { type: openai, baseUrl: "${working.baseUrl}" }
models:
  m:
    operations: [chat]
    price: { inputPerMillionUsd: 1, outputPerMillionUsd: 1 }
    routes: [ { provider: broken, model: a }, { provider: working, model: b } ]
`,
    {},
    "p.yaml",
  );
  const engine = createEngine({ config, providers: await createProviders({ config, log }), log });
  try {
    const { signal } = new AbortController();
    const answer = await engine.chat({ model: "m", messages: [] }, { signal });
    expect(answer).toMatchObject({ provider: "working", providerModel: "b", usage: { inputTokens: 9 } });
    const { chunks, provider } = await engine.streamChat({ model: "m", messages: [] }, { signal });
    expect(provider).toBe("working");
    expect((await Array.fromAsync(chunks)).at(-1)?.usage?.completion_tokens).toBe(3);
    expect((await broken.nextRequest()).body.model).toBe("a");
  } finally {
    await engine.close();
    await Promise.all([broken.close(), working.close()]);
  }
});

test("a llama.cpp provider is made with its settings and what the process adds", async () => {
  let given: LlamaCppOptions | undefined;
  const made = { name: "local" } as Provider;
  const onModelLoaded = (): void => {};
  const providers = await createProviders({
    config: defaultProviders({ modelPath: "a.gguf" }),
    log,
    llamaCpp: { onModelLoaded },
    createLlamaCpp: (options) => {
      given = options;
      return made;
    },
  });
  expect(providers.get("local")).toBe(made);
  expect(given).toEqual({
    name: "local",
    models: { "smollm2-135m-instruct": "a.gguf" },
    sequences: 4,
    queueBound: 64,
    contextTokens: 2048,
    preload: true,
    onModelLoaded,
    log,
  });
});

test("loads of models are measured under the ids that they have on the platform", async () => {
  const registry = new Registry();
  const loaded: string[] = [];
  const { providers, models } = defaultProviders({ modelPath: "a.gguf" });
  const [model] = [...models.values()];
  if (model === undefined) throw new Error("There is no model.");
  const on = (provider: string, name: string): ModelConfig => ({
    ...model,
    routes: [{ provider, model: name }],
  });
  await createProviders({
    config: {
      providers,
      models: new Map([
        ["small", on("local", "a")],
        ["small-too", on("local", "a")],
        ["large", on("local", "b")],
        ["elsewhere", on("other", "a")],
      ]),
    },
    log,
    instruments: createInstruments(registry),
    llamaCpp: { onModelLoaded: (event) => loaded.push(event.model) },
    createLlamaCpp: ({ onModelLoaded }) => {
      onModelLoaded?.({ model: "a", durationMs: 1_500 });
      return {} as Provider;
    },
  });
  expect(samplesOf(registry, "ai_model_load_duration_seconds")).toEqual([
    { labels: { model: "small" }, value: 1, sum: 1.5 },
    { labels: { model: "small-too" }, value: 1, sum: 1.5 },
  ]);
  expect(loaded).toEqual(["a"]);
});

test("providers that were made are closed if a later one cannot be", async () => {
  const defaults = defaultProviders({ modelPath: "a.gguf" }).providers.get("local");
  if (defaults === undefined) throw new Error("There is no local provider.");
  const config: ProvidersConfig = {
    providers: new Map([
      ["one", defaults],
      ["two", defaults],
    ]),
    models: new Map(),
  };
  let closed = 0;
  const making = createProviders({
    config,
    log,
    createLlamaCpp: ({ name }) => {
      if (name === "two") throw new Error("no memory");
      const close = async (): Promise<void> => {
        closed += 1;
      };
      return { close } as unknown as Provider;
    },
  });
  await expect(making).rejects.toThrow("no memory");
  expect(closed).toBe(1);
});

test("the built-in maker of llama.cpp providers is loaded when one is named", async () => {
  const providers = await createProviders({
    config: {
      providers: new Map([
        [
          "local",
          { type: "llama.cpp", models: {}, sequences: 1, queue: 1, contextTokens: 64, preload: false },
        ],
      ]),
      models: new Map(),
    },
    log,
  });
  expect(providers.get("local")?.name).toBe("local");
  await providers.get("local")?.close();
});
