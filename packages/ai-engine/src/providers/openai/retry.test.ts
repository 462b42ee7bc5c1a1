import { EctusError } from "@ectus/core";
import { expect, test } from "vitest";
import { type Attempt, withRetries } from "./retry.ts";

const failed = (details: object = {}, retryable = true): Attempt<string> => ({
  ok: false,
  retryable,
  error: new EctusError("upstream_error", { provider: "up", reason: "of the test", ...details }),
});
const done: Attempt<string> = { ok: true, value: "done" };

interface Run {
  readonly retries?: number;
  readonly withinMs?: number;
  readonly random?: number;
  readonly signal?: AbortSignal;
  readonly onRetry?: () => void;
}

function run(
  attempts: readonly Attempt<string>[],
  { retries = 2, withinMs = 5000, random = 0, signal, onRetry }: Run = {},
) {
  const delays: number[] = [];
  let tried = 0;
  let clock = 0;
  const result = withRetries(
    { retries, withinMs, random: () => random, now: () => clock },
    signal ?? new AbortController().signal,
    () => {
      const attempt = attempts[tried] ?? failed();
      tried += 1;
      clock += 1000;
      return Promise.resolve(attempt);
    },
    (_error, delayMs) => {
      delays.push(delayMs);
      onRetry?.();
    },
  );
  return { result, delays, tried: () => tried };
}

test("a call that succeeds at last is a success", async () => {
  const { result, delays } = run([failed(), failed(), done]);
  expect(await result).toBe("done");
  expect(delays).toHaveLength(2);
});

test("after the bound of tries the last error is thrown", async () => {
  const { result, tried } = run([]);
  await expect(result).rejects.toMatchObject({ code: "upstream_error" });
  expect(tried()).toBe(3);
});

test("what another try cannot mend is not tried again", async () => {
  const { result, tried } = run([failed({}, false), done]);
  await expect(result).rejects.toMatchObject({ code: "upstream_error" });
  expect(tried()).toBe(1);
});

test("no try begins after the bound of time", async () => {
  const { result, tried } = run([], { retries: 100, withinMs: 2500 });
  await expect(result).rejects.toMatchObject({ code: "upstream_error" });
  expect(tried()).toBe(3);
});

test("waits double, jittered between nothing and the whole", async () => {
  const { result, delays } = run([failed(), failed(), done], { random: 0.5 });
  await result;
  expect(delays).toEqual([50, 100]);
});

test("a Retry-After of at most two seconds is kept to", async () => {
  const { result, delays } = run([failed({ retryAfterSeconds: 1 }), done]);
  await result;
  expect(delays).toEqual([1000]);
});

test("with a longer Retry-After the error goes to the caller at once", async () => {
  const { result, tried } = run([failed({ retryAfterSeconds: 3 }), done]);
  await expect(result).rejects.toMatchObject({ details: { retryAfterSeconds: 3 } });
  expect(tried()).toBe(1);
});

test("a wait ends at once with the last failure when the client goes away: nothing runs for it", async () => {
  const controller = new AbortController();
  const { result } = run([failed({ retryAfterSeconds: 2 }), done], {
    signal: controller.signal,
    onRetry: () => setImmediate(() => controller.abort()),
  });
  await expect(result).rejects.toMatchObject({ code: "upstream_error" });
});
