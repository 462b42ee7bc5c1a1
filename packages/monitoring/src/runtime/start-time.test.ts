import { expect, test } from "vitest";
import { createShown } from "../testing/shown.ts";
import { showStartTime } from "./start-time.ts";

test("the start of the process is as long ago as it is up", async () => {
  const shown = createShown();
  const end = showStartTime(shown.instruments);
  const seconds = await shown.value("process_start_time_seconds");
  expect(Math.abs(Date.now() / 1000 - process.uptime() - seconds)).toBeLessThan(1);
  end();
  expect([...(await shown.scrape()).keys()]).toEqual([]);
});
