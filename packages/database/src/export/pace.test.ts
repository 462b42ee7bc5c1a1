import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createPace } from "./pace.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const { signal } = new AbortController();

test("without a rate nobody waits", async () => {
  const pace = createPace(0, signal);
  for (let blocks = 0; blocks < 100; blocks += 1) await pace(1e9);
});

test("what is read in a second is no more than the rate", async () => {
  vi.useRealTimers();
  const pace = createPace(10_000_000, signal);
  const started = performance.now();
  // Half a second's worth, after a block that nobody waits for.
  for (let blocks = 0; blocks < 21; blocks += 1) await pace(250_000);
  expect(performance.now() - started).toBeGreaterThanOrEqual(480);
});

test("time in which nothing was read is not made up for", async () => {
  const pace = createPace(1_000, signal);
  await pace(1_000);
  vi.advanceTimersByTime(60_000);
  await pace(1_000);
  const waiting = pace(1_000);
  const first = await Promise.race([waiting.then(() => "passed"), Promise.resolve("waits")]);
  expect(first).toBe("waits");
});

test("who is told to stop does not wait to the end", async () => {
  const stop = new AbortController();
  const pace = createPace(1, stop.signal);
  await pace(1_000);
  const waiting = pace(1);
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow();
  await expect(pace(1)).rejects.toThrow("enough");
});
