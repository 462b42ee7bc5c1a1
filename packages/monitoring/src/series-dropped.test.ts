import { expect, test } from "vitest";
import { countDroppedSeries } from "./series-dropped.ts";
import { createShown } from "./testing/shown.ts";

const dropped = (metric: string) => `metrics_series_dropped_total{metric="${metric}"}`;

test("what goes past a metric's cap is counted under its name, from zero on", async () => {
  const shown = createShown();
  const end = countDroppedSeries(shown);
  const slow = shown.instruments.counter("db_slow_queries_total");
  shown.instruments.gauge("db_pool_size");
  const count = (table: string) => slow.labels({ operation: "select", table }).inc();
  expect(await shown.value(dropped("db_slow_queries_total"))).toBe(0);
  for (let number = 0; number < 2_007; number += 1) count(`table_${number}`);
  expect(await shown.value(dropped("db_slow_queries_total"))).toBe(7);
  const values = await shown.scrape();
  expect(values.get(dropped("db_slow_queries_total"))).toBe(7);
  expect(values.get('db_slow_queries_total{operation="overflow",table="overflow"}')).toBe(7);
  // One without labels cannot drop any.
  expect(values.has(dropped("db_pool_size"))).toBe(false);
  count("table_0");
  count("one more");
  expect(await shown.value(dropped("db_slow_queries_total"))).toBe(8);

  end();
  expect((await shown.scrape()).has(dropped("db_slow_queries_total"))).toBe(false);
  countDroppedSeries(shown);
  expect(await shown.value(dropped("db_slow_queries_total"))).toBe(8);
});
