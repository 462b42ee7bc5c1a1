import { expect, test } from "vitest";
import { block, createShown } from "../testing/shown.ts";
import { showCpu } from "./cpu.ts";

const names = [
  "process_cpu_user_seconds_total",
  "process_cpu_system_seconds_total",
  "process_cpu_seconds_total",
] as const;

/** The values of a scrape have to lie between what the operating system says before and after it. */
async function expectExact(scrape: () => Promise<ReadonlyMap<string, number>>): Promise<void> {
  const before = process.cpuUsage();
  const values = await scrape();
  const after = process.cpuUsage();
  const [user, system, all] = names.map((name) => (values.get(name) ?? Number.NaN) * 1e6);
  // Sums of fractions are off by less than a microsecond.
  expect(user).toBeGreaterThan(before.user - 1);
  expect(user).toBeLessThan(after.user + 1);
  expect(system).toBeGreaterThan(before.system - 1);
  expect(system).toBeLessThan(after.system + 1);
  expect(all).toBeCloseTo((user ?? 0) + (system ?? 0), 0);
}

test("the CPU time is that of the process from its start on, scrape after scrape and after a restart", async () => {
  const shown = createShown();
  const end = showCpu(shown.instruments);
  for (let times = 0; times < 50; times += 1) {
    block(2);
    await expectExact(shown.scrape);
  }
  end();
  expect([...(await shown.scrape()).keys()]).toEqual([]);
  block(20);
  const endAgain = showCpu(shown.instruments);
  await expectExact(shown.scrape);
  endAgain();
});
