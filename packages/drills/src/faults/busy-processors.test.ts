import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { until } from "../../../../tests/postgres/until.ts";
import { burnProcessors } from "./busy-processors.ts";

test("time of processors is used until it is ended", async () => {
  const usedSeconds = (): number => process.cpuUsage().user / 1e6;
  const before = usedSeconds();
  const end = burnProcessors();
  try {
    await until(() => usedSeconds() - before > 0.5 * availableParallelism(), 25_000);
  } finally {
    await end();
  }
  expect(process.getActiveResourcesInfo()).not.toContain("MessagePort");
});
