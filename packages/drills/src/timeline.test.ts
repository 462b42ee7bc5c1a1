import { expect, test } from "vitest";
import { orAborted, type Step, StepFailed, startTimeline, waitFor } from "./timeline.ts";

const never = new AbortController().signal;
const wait = { what: "the alert fires", expected: "it", withinMs: 20, signal: never };

test("steps are told as they come, with the time since the beginning", () => {
  const told: Step[] = [];
  let now = Date.UTC(2026, 0, 1);
  const timeline = startTimeline(
    (step) => told.push(step),
    () => now,
  );
  now += 1_500;
  timeline.done("something");
  timeline.failed({ what: "another", expected: "this", seen: "that" });
  expect(told).toEqual(timeline.steps);
  expect(told).toEqual([
    { at: "2026-01-01T00:00:01.500Z", afterMs: 1_500, what: "something", ok: true },
    {
      at: "2026-01-01T00:00:01.500Z",
      afterMs: 1_500,
      what: "another",
      ok: false,
      expected: "this",
      seen: "that",
    },
  ]);
});

test("a wait ends with the first answer, and asks again after one that failed", async () => {
  let asked = 0;
  const ask = async (): Promise<number | undefined> => {
    asked += 1;
    if (asked === 1) throw new Error("not ready");
    return asked;
  };
  expect(await waitFor({ ...wait, withinMs: 10_000, ask, seen: async () => "nothing" })).toBe(2);
});

test("a wait that was in vain says what was expected, what was seen, and which answer failed", async () => {
  const vain = waitFor({
    ...wait,
    ask: () => Promise.reject(new Error("refused")),
    seen: async () => "another alert",
  });
  await expect(vain).rejects.toThrow(StepFailed);
  await expect(vain).rejects.toMatchObject({
    failure: {
      what: "the alert fires",
      expected: "it within 0.02 s",
      seen: "another alert (an answer failed: refused)",
    },
  });
});

test("an abort ends waits with its reason", async () => {
  const controller = new AbortController();
  const reason = new Error("stopped");
  const waiting = waitFor({
    ...wait,
    withinMs: 60_000,
    signal: controller.signal,
    ask: async () => undefined,
    seen: async () => "",
  });
  const working = orAborted(new Promise(() => {}), controller.signal);
  controller.abort(reason);
  await expect(waiting).rejects.toThrow();
  await expect(working).rejects.toBe(reason);
  await expect(orAborted(new Promise(() => {}), controller.signal)).rejects.toBe(reason);
  expect(await orAborted(Promise.resolve(1), never)).toBe(1);
});
