// What the built-in model records of a call, with the real model.
import type { Logger } from "@ectus/core";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { describe, expect, onTestFinished, test } from "vitest";
import { drawTree, inTrace } from "../../../../../tests/monitoring/in-trace.ts";
import { recordTraces } from "../../../../../tests/monitoring/recorded-traces.ts";
import type { ChatRequest } from "../../chat.ts";
import { createLlamaCppProvider, type LlamaCppOptions, type LlamaCppProvider } from "./index.ts";
import { modelForTests } from "./test-model.ts";

const path = await modelForTests();
const log = { info() {}, warn() {}, error() {}, debug() {} } as unknown as Logger;
const { signal } = new AbortController();
const prompt = "the words of the prompt";
const request: ChatRequest = {
  model: "m",
  messages: [{ role: "user", content: prompt }],
  max_tokens: 4,
  temperature: 0,
};

function createProvider(model = path ?? "", more: Partial<LlamaCppOptions> = {}): LlamaCppProvider {
  const options = { sequences: 1, queueBound: 4, contextTokens: 256, threads: 1 };
  const provider = createLlamaCppProvider({ name: "local", models: { m: model }, ...options, log, ...more });
  onTestFinished(() => provider.close());
  return provider;
}

describe.skipIf(path === undefined)("the built-in model", () => {
  test("says what a call waits for and works at, and no word of it", async () => {
    const provider = createProvider();
    const first = recordTraces();
    await inTrace(first, () => provider.chat(request, { signal }));
    const spans = await first.spans();
    expect(drawTree(spans)).toEqual(["request", "  model.load", "  model.prompt", "  model.generate"]);
    const steps = spans.filter(({ name }) => name !== "request");
    expect(steps.every(({ kind }) => kind === SpanKind.INTERNAL)).toBe(true);
    expect(steps.map(({ attributes }) => attributes)).toEqual([{}, {}, {}]);

    const running = recordTraces();
    const waiting = recordTraces();
    await Promise.all([
      inTrace(running, async () => {
        for await (const _chunk of await provider.streamChat(request, { signal }));
      }),
      inTrace(waiting, () => provider.chat(request, { signal })),
    ]);
    expect(drawTree(await running.spans())).toEqual(["request", "  model.prompt", "  model.generate"]);
    expect(drawTree(await waiting.spans())).toEqual([
      "request",
      "  model.queue",
      "  model.prompt",
      "  model.generate",
    ]);
  });

  test("is waited for by each call that needs it, while it is loaded once", async () => {
    const loaded: string[] = [];
    const onModelLoaded = ({ model }: { readonly model: string }) => loaded.push(model);
    const provider = createProvider(path, { sequences: 2, onModelLoaded });
    const both = [recordTraces(), recordTraces()];
    await Promise.all(both.map((traces) => inTrace(traces, () => provider.chat(request, { signal }))));
    for (const traces of both)
      expect(drawTree(await traces.spans())).toEqual([
        "request",
        "  model.load",
        "  model.prompt",
        "  model.generate",
      ]);
    expect(loaded).toEqual(["m"]);
  });

  test("whose answer nobody reads ends its step with an error", async () => {
    const provider = createProvider(path, { readerTimeoutMs: 10 });
    await provider.preload();
    const traces = recordTraces();
    await inTrace(traces, async () => {
      await provider.streamChat(request, { signal });
      await expect.poll(() => provider.load().m?.active).toBe(0);
    });
    const step = (await traces.spans()).find(({ name }) => name === "model.generate");
    expect(step?.status).toEqual({ code: SpanStatusCode.ERROR });
    expect(step?.attributes).toEqual({ "error.type": "stream_interrupted" });
  });

  test("that a client leaves has no error in its spans", async () => {
    const provider = createProvider();
    await provider.preload();
    const traces = recordTraces();
    const controller = new AbortController();
    await inTrace(traces, async () => {
      const asked = provider.chat(
        { ...request, messages: [{ role: "user", content: `${prompt} `.repeat(30) }] },
        { signal: controller.signal },
      );
      controller.abort();
      await asked.catch(() => {});
    });
    for (const { status, attributes } of await traces.spans()) {
      expect(status.code).toBe(SpanStatusCode.UNSET);
      expect(attributes).not.toHaveProperty("error.type");
    }
  });
});

test("a model that cannot be loaded is the error of the step", async () => {
  const provider = createProvider("/nowhere/model.gguf");
  const traces = recordTraces();
  await inTrace(traces, () => provider.chat(request, { signal }).catch(() => {}));
  const spans = await traces.spans();
  expect(drawTree(spans)).toEqual(["request", "  model.load"]);
  const load = spans.find(({ name }) => name === "model.load");
  expect(load?.status).toEqual({ code: SpanStatusCode.ERROR });
  expect(load?.attributes).toEqual({ "error.type": "model_unavailable" });
});
