// Calls that begin, answer, break and are left in any order: what is measured adds up to what happened.
import { EctusError, type ErrorCode } from "@ectus/core";
import type { Registry } from "@ectus/monitoring";
import fc from "fast-check";
import { expect, test } from "vitest";
import { samplesOf } from "../../../tests/postgres/measured.ts";
import type { ChatCompletionChunk } from "./chat.ts";
import { chunkOf, createTestEngine, type ScriptedStream, type TestEngine, usageOf } from "./test-engine.ts";
import { type TokenUsage, toTokenUsage } from "./usage.ts";

type Step =
  | { readonly do: "call"; readonly kind: "chat" | "stream" | "embed"; readonly model: "one" | "two" }
  | { readonly do: "answer"; readonly which: number; readonly prompt: number; readonly counts: boolean }
  | { readonly do: "fail"; readonly which: number; readonly code: ErrorCode }
  | { readonly do: "push"; readonly which: number; readonly usage: number | null }
  | { readonly do: "end" | "break" | "read" | "return"; readonly which: number }
  | { readonly do: "abort"; readonly which: number; readonly byServer: boolean };

const which = fc.nat(20);
const codes: readonly ErrorCode[] = [
  "upstream_error",
  "upstream_timeout",
  "upstream_rate_limited",
  "upstream_rejected",
  "invalid_request",
  "internal_error",
];
const call: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("call"),
  kind: fc.constantFrom("chat", "stream", "stream", "embed"),
  model: fc.constantFrom("one", "two"),
});
const answer: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("answer"),
  which,
  prompt: fc.nat(1000),
  counts: fc.boolean(),
});
const push: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("push"),
  which,
  usage: fc.option(fc.nat(1000), { nil: null }),
});
const read: fc.Arbitrary<Step> = fc.record({ do: fc.constant("read"), which });
const other: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant("fail" as const), which, code: fc.constantFrom(...codes) }),
  fc.record({ do: fc.constantFrom("end" as const, "break" as const, "return" as const), which }),
  fc.record({ do: fc.constant("abort" as const), which, byServer: fc.boolean() }),
);
const steps = fc.array(
  fc.oneof(
    { arbitrary: call, weight: 3 },
    { arbitrary: answer, weight: 3 },
    { arbitrary: push, weight: 4 },
    { arbitrary: read, weight: 6 },
    { arbitrary: other, weight: 3 },
  ),
  { maxLength: 120 },
);

interface Run {
  readonly controller: AbortController;
  /** Whether its caller has nothing to wait for any more. */
  isOver: boolean;
  /** As a usage row has it. */
  used: TokenUsage | null;
  reading: boolean;
  /** Reads one chunk, or gives up; set by a stream that began. */
  read?: () => Promise<void>;
  giveUp?: () => Promise<void>;
}

function begin(engine: TestEngine, step: Step & { do: "call" }): Run {
  const controller = new AbortController();
  const run: Run = { controller, isOver: false, used: null, reading: false };
  const { signal } = controller;
  const fail = (error: unknown): void => {
    run.isOver = true;
    // What a provider says that counts itself.
    if (error instanceof EctusError) run.used = toTokenUsage(error.details.usage as never);
  };
  if (step.kind !== "stream") {
    const asking = step.kind === "chat" ? engine.chat(step.model, signal) : engine.embed("vectors", signal);
    asking.then(({ usage }) => {
      run.isOver = true;
      run.used = usage;
    }, fail);
    return run;
  }
  engine.stream(step.model, signal).then(({ chunks, usageSoFar }) => {
    const reader = chunks[Symbol.asyncIterator]();
    let said: TokenUsage | null = null;
    // The API reads like this: what a chunk said comes before what the provider counts.
    const end = (): void => {
      if (run.isOver) return;
      run.isOver = true;
      run.used = said ?? usageSoFar();
    };
    run.read = async () => {
      if (run.isOver || run.reading) return;
      run.reading = true;
      try {
        const { done, value } = await reader.next();
        if (done === true) end();
        else if ((value as ChatCompletionChunk).usage != null) said = toTokenUsage(value.usage);
      } catch {
        end();
      } finally {
        run.reading = false;
      }
    };
    run.giveUp = async () => {
      if (run.isOver || run.reading) return;
      await reader.return?.();
      end();
    };
  }, fail);
  return run;
}

const pick = <T>(list: readonly T[], index: number): T | undefined =>
  list.length === 0 ? undefined : list[index % list.length];
const aTurn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

async function take(engine: TestEngine, runs: Run[], streams: ScriptedStream[], step: Step): Promise<void> {
  const open = engine.asked.filter(({ isOver }) => !isOver);
  switch (step.do) {
    case "call":
      runs.push(begin(engine, step));
      break;
    case "answer": {
      const asked = pick(open, step.which);
      if (asked?.kind === "stream")
        streams.push(asked.stream(step.counts ? usageOf(step.prompt, 1) : undefined));
      else asked?.answer(step.counts ? usageOf(step.prompt, 2) : undefined);
      break;
    }
    case "fail":
      pick(open, step.which)?.fail(new EctusError(step.code, { provider: "x", reason: "of the test" }));
      break;
    case "push":
      pick(streams, step.which)?.push(
        chunkOf({ content: "x" }, step.usage === null ? {} : { usage: usageOf(9, step.usage) }),
      );
      break;
    case "end":
      pick(streams, step.which)?.end();
      break;
    case "break":
      pick(streams, step.which)?.fail(
        new EctusError("stream_interrupted", { provider: "x", reason: "of the test" }),
      );
      break;
    case "read":
      void pick(runs, step.which)?.read?.();
      break;
    case "return":
      void pick(runs, step.which)?.giveUp?.();
      break;
    case "abort": {
      const run = pick(runs, step.which);
      run?.controller.abort(new EctusError(step.byServer ? "shutting_down" : "client_closed_request"));
      // Whoever was not reading learns of it when it wants to send, and gives up.
      void run?.giveUp?.();
      break;
    }
  }
  await aTurn();
}

const sum = (registry: Registry, name: string, labels: Readonly<Record<string, string>> = {}): number =>
  samplesOf(registry, name)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((total, { value }) => total + value, 0);

test("calls are counted once each, sessions go back to zero, and tokens are those of the usage rows", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom(1, 2, 100), async (list, maxConcurrent) => {
      const engine = createTestEngine({ maxConcurrent, queue: 3 });
      const { registry } = engine;
      const runs: Run[] = [];
      const streams: ScriptedStream[] = [];
      for (const step of list) {
        await take(engine, runs, streams, step);
        const begun = runs.length;
        const active = sum(registry, "ai_active_sessions");
        expect(active + sum(registry, "ai_inference_requests_total")).toBe(begun);
        // A stream that was aborted is over for the engine as soon as that.
        const open = runs.filter(({ isOver, controller }) => !isOver && !controller.signal.aborted);
        expect(active).toBe(open.length);
      }
      for (const run of runs) {
        run.controller.abort(new EctusError("client_closed_request"));
        await aTurn();
        await run.giveUp?.();
      }
      expect(runs.every(({ isOver }) => isOver)).toBe(true);
      expect(samplesOf(registry, "ai_active_sessions").filter(({ value }) => value !== 0)).toEqual([]);
      expect(sum(registry, "ai_inference_requests_total")).toBe(runs.length);
      expect(sum(registry, "ai_inference_duration_seconds")).toBe(
        sum(registry, "ai_inference_requests_total", { outcome: "completed" }),
      );
      expect(engine.engine.status().every(({ inFlight, queued }) => inFlight + queued === 0)).toBe(true);
      const expected = { input: 0, output: 0 };
      for (const { used } of runs) {
        expected.input += used?.inputTokens ?? 0;
        expected.output += used?.outputTokens ?? 0;
      }
      expect({
        input: sum(registry, "ai_tokens_total", { type: "input" }),
        output: sum(registry, "ai_tokens_total", { type: "output" }),
      }).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});
