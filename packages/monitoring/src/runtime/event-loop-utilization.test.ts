import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { block, createShown, type Shown } from "../testing/shown.ts";
import { observeEventLoopUtilization } from "./event-loop-utilization.ts";

const name = "nodejs_eventloop_utilization_histogram";

let shown: Shown;
let stop: () => void;

beforeEach(() => {
  shown = createShown();
  stop = observeEventLoopUtilization(shown.instruments);
});

afterEach(() => stop());

describe("the event loop's utilization", () => {
  test("counts each tenth of a second in which the loop was blocked", async () => {
    block(1000);
    await until(async () => (await shown.value(`${name}_count`)) >= 9);
    const values = await shown.scrape();
    const busy = (values.get(`${name}_count`) ?? 0) - (values.get(`${name}_bucket{le="0.9"}`) ?? 0);
    expect(busy).toBeGreaterThanOrEqual(9);
    expect(busy).toBeLessThan(20);
  });

  test("is low while the loop waits", async () => {
    await delay(1000);
    await until(async () => (await shown.value(`${name}_count`)) >= 9);
    const values = await shown.scrape();
    expect(values.get(`${name}_bucket{le="0.5"}`)).toBeGreaterThanOrEqual(6);
  });

  test("is not measured after its end", async () => {
    stop();
    block(200);
    await delay(50);
    expect([...(await shown.scrape()).keys()]).toEqual([]);
  });
});
