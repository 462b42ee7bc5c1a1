import { expect, test } from "vitest";
import { recordContext } from "./recorded-context.ts";
import { whileStoppable } from "./stop-signals.ts";

const dataDir = "/nonexistent";

test("the first signal aborts the work, which ends as it likes", async () => {
  const { context, signal, err, exits } = recordContext({});
  const result = whileStoppable({ context, dataDir }, async (aborted) => {
    const ended = new Promise<string>((resolve) => {
      aborted.addEventListener("abort", () => resolve((aborted.reason as Error).message));
    });
    signal();
    return ended;
  });
  expect(await result).toBe("stopped by a signal");
  expect(err()).toBe("\nStopping. Once more to stop at once.\n");
  expect(exits).toEqual([]);
  signal();
  expect(err()).not.toContain("at once.\n\nStopping");
});

test("what the first signal does can be another thing than to abort", async () => {
  const { context, signal } = recordContext({});
  const asked = Promise.withResolvers<string>();
  const result = whileStoppable(
    { context, dataDir, onFirst: () => asked.resolve("asked") },
    async (aborted) => {
      signal();
      expect(aborted.aborted).toBe(false);
      return asked.promise;
    },
  );
  expect(await result).toBe("asked");
});

test("the second signal ends the process though the work does not end, and further ones change nothing", async () => {
  const { context, signal, printed, exits } = recordContext({});
  const exited = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  const work = whileStoppable(
    {
      context: {
        ...context,
        exitNow(code) {
          context.exitNow(code);
          exited.resolve();
        },
      },
      dataDir,
    },
    () => never.promise,
  );
  const startedAt = performance.now();
  for (let press = 0; press < 4; press += 1) signal();
  await printed("Stopping at once.");
  await exited.promise;
  expect(performance.now() - startedAt).toBeLessThan(2_500);
  expect(exits).toEqual([1]);
  never.resolve();
  await work;
});

test("the second signal does not wait for work that has ended", async () => {
  const { context, signal, exits } = recordContext({});
  const exited = Promise.withResolvers<void>();
  const startedAt = performance.now();
  await whileStoppable({ context: { ...context, exitNow: () => exited.resolve() }, dataDir }, async () => {
    signal();
    signal();
  });
  await exited.promise;
  expect(performance.now() - startedAt).toBeLessThan(400);
  expect(exits).toEqual([]);
});
