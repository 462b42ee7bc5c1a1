import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createAdmission } from "./admission.ts";

const signal = new AbortController().signal;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function admission({ maxConcurrent = 1, queue = 2, maxWaitMs = 1000 } = {}) {
  return createAdmission({ name: "up", maxConcurrent, queue, maxWaitMs, now: () => Date.now() });
}

test("slots are given until all are taken", () => {
  const gate = admission({ maxConcurrent: 2 });
  expect([gate.tryAcquire(), gate.tryAcquire(), gate.tryAcquire()]).toEqual([true, true, false]);
  gate.release(1);
  expect(gate.inFlight).toBe(1);
  expect(gate.tryAcquire()).toBe(true);
});

test("those who wait are served in their order, and nobody overtakes them", async () => {
  const gate = admission();
  await gate.acquire(signal);
  const served: number[] = [];
  const first = gate.acquire(signal).then(() => served.push(1));
  const second = gate.acquire(signal).then(() => served.push(2));
  gate.release(1);
  expect(gate.tryAcquire()).toBe(false);
  await first;
  expect(served).toEqual([1]);
  gate.release(1);
  await second;
  gate.release(1);
  expect(served).toEqual([1, 2]);
  expect([gate.inFlight, gate.queued]).toEqual([0, 0]);
});

test("past the queue's bound a call is refused with the time to come back", async () => {
  const gate = admission({ queue: 1 });
  await gate.acquire(signal);
  const waiting = gate.acquire(signal);
  expect(gate.full).toBe(true);
  await expect(gate.acquire(signal)).rejects.toMatchObject({
    code: "overloaded",
    details: { provider: "up", retryAfterSeconds: 2 },
  });
  gate.release(1);
  await waiting;
});

test("a wait past its bound is refused and leaves the queue", async () => {
  const gate = admission({ maxWaitMs: 500 });
  await gate.acquire(signal);
  const refused = expect(gate.acquire(signal)).rejects.toMatchObject({ code: "overloaded" });
  await vi.advanceTimersByTimeAsync(500);
  await refused;
  expect(gate.queued).toBe(0);
  gate.release(1);
  expect(gate.inFlight).toBe(0);
});

test("who goes away leaves the queue, and the next in line is served", async () => {
  const gate = admission();
  await gate.acquire(signal);
  const controller = new AbortController();
  const gone = expect(gate.acquire(controller.signal)).rejects.toMatchObject({
    code: "client_closed_request",
  });
  const next = gate.acquire(signal);
  controller.abort();
  await gone;
  expect(gate.queued).toBe(1);
  gate.release(1);
  await next;
  expect(vi.getTimerCount()).toBe(0);
});

test("who has gone away already is not admitted", async () => {
  const gate = admission();
  await expect(gate.acquire(AbortSignal.abort())).rejects.toMatchObject({ code: "client_closed_request" });
  expect(gate.inFlight).toBe(0);
});

test("the time to come back follows how long calls take, within bounds", () => {
  const gate = admission({ maxConcurrent: 1 });
  for (let call = 0; call < 100; call += 1) {
    gate.tryAcquire();
    gate.release(10_000);
  }
  expect(gate.retryAfterSeconds()).toBe(10);
  for (let call = 0; call < 100; call += 1) {
    gate.tryAcquire();
    gate.release(1e9);
  }
  expect(gate.retryAfterSeconds()).toBe(60);
});
