// promtool's verdict on the rules: that they are sound, and that each does what its test file says.
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { peer } from "@ectus/peers";
import { describe, expect, test } from "vitest";

const folder = join(import.meta.dirname, "..", "..", "k8s", "prometheus");
const ruleFiles = ["recording-rules.yaml", "objective-rules.yaml", "alerts.yaml"];
const testFiles = (await readdir(join(folder, "tests"))).filter((name) => name.endsWith(".test.yaml"));

const prometheus = await peer("prometheus");
const promtool = prometheus?.files.promtool ?? "";

/** Resolves with what it printed, and whether it was content. */
function run(
  args: readonly string[],
  cwd: string,
): Promise<{ readonly ok: boolean; readonly output: string }> {
  return new Promise((resolve) => {
    execFile(promtool, args, { cwd, timeout: 120_000 }, (error, stdout, stderr) =>
      resolve({ ok: error === null, output: stdout + stderr }),
    );
  });
}

describe.skipIf(!prometheus)("promtool", () => {
  test.each(ruleFiles)("finds nothing wrong with %s", async (file) => {
    expect(await run(["check", "rules", "--lint=all", "--lint-fatal", file], folder)).toMatchObject({
      ok: true,
    });
  });

  test.each(testFiles)("finds that the rules do what %s says", { timeout: 120_000 }, async (file) => {
    const { ok, output } = await run(["test", "rules", file], join(folder, "tests"));
    expect(ok, output).toBe(true);
  });
});
