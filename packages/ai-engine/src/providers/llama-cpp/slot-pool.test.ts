// The queue before the slots: order, bound, leaving, closing.
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createSlotPool, type Lease } from "./slot-pool.ts";

const never = new AbortController().signal;

const poolOf = (slots: number, queueBound = 10, now?: () => number) =>
  createSlotPool({
    slots: Array.from({ length: slots }, (_, index) => index),
    queueBound,
    queueTimeoutMs: 1_000,
    what: "the model 'm'",
    ...(now !== undefined && { now }),
  });

describe("createSlotPool", () => {
  test("slots are handed out up to their number, then in order of arrival", async () => {
    const pool = poolOf(2);
    const first = await pool.acquire(never);
    const second = await pool.acquire(never);
    const order: string[] = [];
    const third = pool.acquire(never).then((lease) => {
      order.push("third");
      return lease;
    });
    const fourth = pool.acquire(never).then((lease) => {
      order.push("fourth");
      return lease;
    });
    expect([pool.active(), pool.waiting()]).toEqual([2, 2]);
    second.release();
    expect((await third).item).toBe(1);
    first.release();
    expect((await fourth).item).toBe(0);
    expect(order).toEqual(["third", "fourth"]);
  });

  test("one more than the queue's bound is refused with a time to come back", async () => {
    let time = 0;
    const pool = poolOf(1, 1, () => time);
    const held = await pool.acquire(never);
    const waiting = pool.acquire(never);
    await expect(pool.acquire(never)).rejects.toMatchObject({
      code: "overloaded",
      details: { retryAfterSeconds: 2 },
    });
    time = 1_000_000;
    held.release();
    const next = await waiting;
    const again = pool.acquire(never);
    await expect(pool.acquire(never)).rejects.toMatchObject({ details: { retryAfterSeconds: 60 } });
    next.release();
    (await again).release();
  });

  test("a slot that is released twice is free once", async () => {
    const pool = poolOf(1);
    const lease = await pool.acquire(never);
    lease.release();
    lease.release();
    await pool.acquire(never);
    expect(pool.active()).toBe(1);
  });

  test("the caller chooses among the free slots, also after waiting", async () => {
    const pool = poolOf(3);
    expect((await pool.acquire(never, (free) => Math.max(...free))).item).toBe(2);
    await pool.acquire(never);
    const last = await pool.acquire(never);
    const waiting = pool.acquire(never, (free) => Math.max(...free));
    last.release();
    expect((await waiting).item).toBe(last.item);
  });

  test("a waiter whose signal is aborted leaves the queue with the signal's reason", async () => {
    const pool = poolOf(1);
    const held = await pool.acquire(never);
    const controller = new AbortController();
    const waiting = pool.acquire(controller.signal);
    const reason = new Error("gone");
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(pool.acquire(controller.signal)).rejects.toBe(reason);
    expect(pool.waiting()).toBe(0);
    held.release();
    expect(pool.active()).toBe(0);
  });

  test("closing refuses those who wait and come, and ends when the last slot is back", async () => {
    const pool = poolOf(1);
    const held = await pool.acquire(never);
    const waiting = pool.acquire(never);
    let closed = false;
    const closing = pool.close().then(() => {
      closed = true;
    });
    await expect(waiting).rejects.toMatchObject({ code: "shutting_down" });
    await expect(pool.acquire(never)).rejects.toMatchObject({ code: "shutting_down" });
    expect(closed).toBe(false);
    held.release();
    await closing;
    await pool.close();
  });

  test("however callers come, leave and release, no slot is held twice and none is lost", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.constantFrom("acquire", "release", "leave"), { maxLength: 40 }),
        async (slots, steps) => {
          const pool = poolOf(slots, 5);
          const held: Lease<number>[] = [];
          const callers: AbortController[] = [];
          for (const step of steps) {
            if (step === "acquire") {
              const controller = new AbortController();
              callers.push(controller);
              pool.acquire(controller.signal).then(
                (lease) => held.push(lease),
                () => undefined,
              );
            } else if (step === "release") held.shift()?.release();
            else callers.shift()?.abort();
            await Promise.resolve();
            await Promise.resolve();
            expect(new Set(held.map(({ item }) => item)).size).toBe(held.length);
            expect(pool.waiting()).toBeLessThanOrEqual(5);
          }
          for (const caller of callers) caller.abort();
          await vi.waitUntil(() => {
            for (const lease of held.splice(0)) lease.release();
            return pool.active() === 0;
          });
          await pool.close();
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe("a long wait", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("ends as overloaded after the queue's time limit", async () => {
    const pool = poolOf(1);
    await pool.acquire(never);
    const waiting = expect(pool.acquire(never)).rejects.toMatchObject({ code: "overloaded" });
    await vi.advanceTimersByTimeAsync(1_000);
    await waiting;
    expect(pool.waiting()).toBe(0);
  });
});
