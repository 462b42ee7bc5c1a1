// Waits for a condition that has no event, with a bound.
import { setTimeout as delay } from "node:timers/promises";

/** Resolves when `condition` holds, and rejects when it has not within `timeoutMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
  everyMs = 5,
): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`what was waited for did not come: ${condition}`);
    await delay(everyMs);
  }
}
