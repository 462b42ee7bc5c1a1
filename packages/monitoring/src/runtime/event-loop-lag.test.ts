import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { block, createShown, type Shown } from "../testing/shown.ts";
import { showEventLoopLag } from "./event-loop-lag.ts";

const last = "nodejs_eventloop_lag_seconds";
const max = "nodejs_eventloop_lag_max_seconds";

let shown: Shown;
let stop: () => void;

// On a busy machine the loop lags by itself, by up to a fifth of a second: what is blocked here is much more.
beforeEach(async () => {
  shown = createShown();
  stop = showEventLoopLag(shown.instruments);
  await until(async () => (await shown.value(max)) > 0);
});

afterEach(() => stop());

describe("the event-loop lag", () => {
  test("has no series before its first timer, rather than one of zero", async () => {
    const young = createShown();
    const stopIt = showEventLoopLag(young.instruments);
    expect([...(await young.scrape()).keys()]).toEqual([]);
    stopIt();
  });

  test("is near nothing when nothing blocks, unlike the interval of its timer", async () => {
    // The first is counted from the start, those that follow from the one before.
    await delay(300);
    await until(async () => (await shown.value("nodejs_eventloop_lag_p50_seconds")) < 0.018);
  });

  test("rises with what blocks the loop, and stays in the maximum for every scraper", async () => {
    block(1000);
    // The timer that was due meanwhile comes first.
    await delay(1);
    expect(await shown.value(last)).toBeGreaterThan(0.9);
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

  test("is not measured any more after its stop, and has no series", async () => {
    stop();
    expect([...(await shown.scrape()).keys()]).toEqual([]);
    stop = showEventLoopLag(shown.instruments);
    await until(async () => (await shown.value(max)) > 0);
  });
});
