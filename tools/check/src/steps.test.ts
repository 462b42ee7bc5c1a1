import { expect, test } from "vitest";
import { runSteps, type Step } from "./steps.ts";

async function run(steps: readonly Step[], atOnce = 2): Promise<{ status: number; output: string }> {
  let output = "";
  const status = await runSteps(steps, { atOnce, write: (text) => (output += text) });
  return { status, output };
}

const passing = (name: string): Step => ({ name, run: async () => [] });

test("when all is well each step has one line and the status is 0", async () => {
  const { status, output } = await run([passing("one"), passing("two")]);
  expect(status).toBe(0);
  expect(output).toMatch(/^ok {4}one +\d\.\d s\nok {4}two +\d\.\d s\ncheck: 2 steps passed in \d\.\d s\n$/);
});

test("faults are all shown, the steps after still run, and the status is 1", async () => {
  const failing: Step = { name: "bad", run: async () => ["a.ts:1: wrong", "b.ts:2: wrong\nand more"] };
  const { status, output } = await run([failing, passing("next")], 1);
  expect(status).toBe(1);
  expect(output).toContain("      a.ts:1: wrong\n      b.ts:2: wrong\n      and more\n");
  expect(output).toContain("ok    next");
  expect(output).toContain("check: 1 of 2 steps FAILED");
});

test("a step that throws counts as failed", async () => {
  const { status, output } = await run([
    { name: "broken", run: () => Promise.reject(new Error("no such file")) },
  ]);
  expect(status).toBe(1);
  expect(output).toContain("Error: no such file");
});

test("two steps run at a time, not more", async () => {
  let running = 0;
  let most = 0;
  const step = (name: string): Step => ({
    name,
    async run() {
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running--;
      return [];
    },
  });
  await run(["a", "b", "c", "d"].map(step));
  expect(most).toBe(2);
});
