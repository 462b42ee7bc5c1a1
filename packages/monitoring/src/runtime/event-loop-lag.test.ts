import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { block, createShown, type Shown } from "../testing/shown.ts";
import { type EventLoopLag, showEventLoopLag } from "./event-loop-lag.ts";

const last = "nodejs_eventloop_lag_seconds";
const max = "nodejs_eventloop_lag_max_seconds";

let shown: Shown;
let lag: EventLoopLag;

// On a busy machine the loop lags by itself, by up to a fifth of a second: what is blocked here is much more.
beforeEach(async () => {
  shown = createShown();
  lag = showEventLoopLag(shown.instruments);
  await until(async () => (await shown.value(max)) > 0);
});

afterEach(() => lag.stop());

/** Until what was blocked before would have been seen. */
async function someTicks(): Promise<void> {
  await delay(50);
}

describe("the event-loop lag", () => {
  test("has no series before its first timer, rather than one of zero", async () => {
    const young = createShown();
    const its = showEventLoopLag(young.instruments);
    expect([...(await young.scrape()).keys()]).toEqual([]);
    its.stop();
  });

  test("is near nothing when nothing blocks, unlike the interval of its timer", async () => {
    await delay(300);
    expect(await shown.value("nodejs_eventloop_lag_min_seconds")).toBeLessThan(0.005);
  });

  test("rises with what blocks the loop, and stays in the maximum for every scraper", async () => {
    block(1000);
    await until(async () => (await shown.value(max)) > 0.9);
    for (let scraper = 0; scraper < 3; scraper += 1) {
      const values = await shown.scrape();
      const of = (name: string) => values.get(`nodejs_eventloop_lag_${name}_seconds`) ?? Number.NaN;
      expect(of("max")).toBeGreaterThan(0.9);
      expect(of("max")).toBeLessThan(1.9);
      expect(of("p99")).toBeGreaterThan(of("p50"));
      expect(of("p90")).toBeGreaterThanOrEqual(of("p50"));
      expect(of("p50")).toBeGreaterThanOrEqual(of("min"));
      expect(of("stddev")).toBeGreaterThan(0.01);
      expect(of("mean")).toBeGreaterThan(0.001);
    }
  });

  test("leaves out what is blocked in a pause", async () => {
    const resume = lag.pause();
    block(1500);
    resume();
    await someTicks();
    const values = await shown.scrape();
    expect(values.get(max)).toBeLessThan(1);
    expect(values.get(last)).toBeLessThan(1);
  });

  test("leaves out a pause that goes on over several turns of the loop", async () => {
    const resume = lag.pause();
    for (let slice = 0; slice < 3; slice += 1) {
      block(500);
      await new Promise((resolve) => setImmediate(resolve));
      await someTicks();
    }
    resume();
    await someTicks();
    expect(await shown.value(max)).toBeLessThan(0.4);
  });

  test("knows what was blocked right before a pause, when its timer has not told yet", async () => {
    block(1000);
    const resume = lag.pause();
    block(2000);
    expect(await shown.value(last)).toBeGreaterThan(0.9);
    resume();
    await someTicks();
    expect(await shown.value(max)).toBeGreaterThan(0.9);
    expect(await shown.value(max)).toBeLessThan(1.9);
  });

  test("is measured again after a pause", async () => {
    lag.pause()();
    block(1000);
    await until(async () => (await shown.value(max)) > 0.9);
  });

  test("is measured only when all pauses are over, each of which ends once", async () => {
    const resumeFirst = lag.pause();
    const resumeSecond = lag.pause();
    resumeFirst();
    resumeFirst();
    block(1500);
    await someTicks();
    resumeSecond();
    expect(await shown.value(max)).toBeLessThan(1);
    block(1000);
    await until(async () => (await shown.value(max)) > 0.9);
  });

  test("is not measured any more after its stop, and has no series", async () => {
    lag.stop();
    expect([...(await shown.scrape()).keys()]).toEqual([]);
    lag = showEventLoopLag(shown.instruments);
    await until(async () => (await shown.value(max)) > 0);
  });
});
