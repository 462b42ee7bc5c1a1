// node tools/check/ci-summary.ts REPORT: prints the closing line of .ci/run from Vitest's JSON report, "N passed,
// N failed". Exit status 1 when anything failed or the report says nothing.
import { readFile } from "node:fs/promises";
import { errorMessage } from "@ectus/core";
import { summarize } from "./src/vitest-summary.ts";

const [path] = process.argv.slice(2);
if (path === undefined) {
  process.stderr.write("Usage: node tools/check/ci-summary.ts REPORT\n");
  process.exitCode = 2;
} else {
  const report = await readFile(path, "utf8").catch((error: unknown) => {
    process.stderr.write(`ci-summary: ${errorMessage(error)}\n`);
    return "";
  });
  const { passed, failed, skipped } = summarize(report);
  if (skipped > 0) process.stdout.write(`${skipped} skipped\n`);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}
